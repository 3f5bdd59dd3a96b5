"""PgQueuer: asyncpg, batches of 1,000 in enqueue and 100 in dequeue, durable tables.

A tenant is a schema with a channel of its own (DBSettings), an instance and a connection. A job
whose worker is gone is taken again 30 s after its last heartbeat, as the documentation has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer.adapters.persistence.qb import (
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.core.qm import QueueManager
from pgqueuer.db import AsyncpgDriver
from pgqueuer.domain.settings import DBSettings
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.peers.script import measure
from benchmarks.peers.work import Tally
from benchmarks.protocol import Order

LOT = 1000
BATCH = 100


class PgQueuer:
    """It has no steps and keeps no finished job: a run is over when its row is gone."""

    def __init__(self, order: Order, client: asyncpg.Connection) -> None:
        self.tally = Tally()
        self._url = order.url
        self._client = client
        self._settings = _settings(order)
        self._queries = _queries(client, self._settings)

    async def submit(self, work: str, count: int) -> None:
        """Enqueue in lots."""
        for first in range(0, count, LOT):
            lot = min(LOT, count - first)
            await self._queries.enqueue([work] * lot, [None] * lot, [0] * lot)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run one queue manager, over a connection of its own."""
        connection = await asyncpg.connect(self._url)
        manager = QueueManager(_queries(connection, self._settings), self._settings.channel)

        @manager.entrypoint("one_step")
        async def one_step(job: Job) -> None:  # noqa: ARG001 - what is called
            self.tally.start()
            self.tally.end()

        @manager.entrypoint("hold")
        async def hold(job: Job) -> None:
            await self.tally.hold(job.id)

        task = asyncio.create_task(manager.run(batch_size=BATCH))
        try:
            yield
        finally:
            manager.shutdown.set()
            await task
            await connection.close()

    async def unfinished(self) -> int:
        """Count the rows of the queue."""
        table = self._settings.qualified.queue_table
        count: int = await self._client.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608
        return count


def _settings(order: Order) -> DBSettings:
    if order.schema == "public":
        return DBSettings()
    return DBSettings(db_schema=order.schema, channel=f"ch_{order.schema}")


def _queries(connection: asyncpg.Connection, settings: DBSettings) -> Queries:
    return Queries(
        AsyncpgDriver(connection),
        QueryBuilderEnvironment(settings),
        QueryQueueBuilder(settings),
        QuerySchedulerBuilder(settings),
    )


@asynccontextmanager
async def opened(order: Order) -> AsyncIterator[PgQueuer]:
    """Connect."""
    client = await asyncpg.connect(order.url)
    try:
        yield PgQueuer(order, client)
    finally:
        await client.close()


async def set_up(order: Order) -> None:
    """Make its tables."""
    connection = await asyncpg.connect(order.url)
    await _queries(connection, _settings(order)).install()
    await connection.close()


if __name__ == "__main__":
    measure(opened, set_up, steps=False)
