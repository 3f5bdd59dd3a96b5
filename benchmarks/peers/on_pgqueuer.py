"""PgQueuer: asyncpg, batches of 1,000 in enqueue and 100 in dequeue, durable tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer.core.qm import QueueManager
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.peers.work import Tally, measure
from benchmarks.protocol import Order

LOT = 1000
BATCH = 100


class PgQueuer:
    """It has no steps and keeps no finished job: a run is over when its row is gone."""

    def __init__(self, url: str, client: asyncpg.Connection) -> None:
        self.tally = Tally()
        self._url = url
        self._client = client
        self._queries = Queries(AsyncpgDriver(client))

    async def submit(self, work: str, count: int) -> None:
        """Enqueue in lots."""
        for first in range(0, count, LOT):
            lot = min(LOT, count - first)
            await self._queries.enqueue([work] * lot, [None] * lot, [0] * lot)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run one queue manager, over a connection of its own."""
        connection = await asyncpg.connect(self._url)
        manager = QueueManager(Queries(AsyncpgDriver(connection)))

        @manager.entrypoint("one_step")
        async def one_step(job: Job) -> None:  # noqa: ARG001 - what is called
            self.tally.start()
            self.tally.end()

        task = asyncio.create_task(manager.run(batch_size=BATCH))
        try:
            yield
        finally:
            manager.shutdown.set()
            await task
            await connection.close()

    async def unfinished(self) -> int:
        """Count the rows of the queue."""
        count: int = await self._client.fetchval("SELECT count(*) FROM pgqueuer")
        return count


@asynccontextmanager
async def opened(order: Order) -> AsyncIterator[PgQueuer]:
    """Connect."""
    client = await asyncpg.connect(order.url)
    try:
        yield PgQueuer(order.url, client)
    finally:
        await client.close()


async def set_up(order: Order) -> None:
    """Make its tables."""
    connection = await asyncpg.connect(order.url)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


if __name__ == "__main__":
    measure(opened, set_up, steps=False)
