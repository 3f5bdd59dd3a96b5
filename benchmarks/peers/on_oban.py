"""Oban for Python: psycopg, inserted in batches of 1,000, one queue with 200 jobs at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from oban import Oban, worker
from oban.job import Job
from oban.schema import install
from psycopg_pool import AsyncConnectionPool

from benchmarks.peers.work import Tally, measure
from benchmarks.protocol import Order

LOT = 1000
LIMIT = 200
CONNECTIONS = 10
UNFINISHED = "SELECT count(*) FROM oban_jobs WHERE state IN ('available', 'executing')"
TALLY = Tally()


class OneStep:
    """The work."""

    async def process(self, job: Job) -> None:  # noqa: ARG002 - what is called
        """Do nothing."""
        TALLY.start()
        TALLY.end()


WORKER: Any = worker(queue="default")(OneStep)


class ObanLibrary:
    """It has no steps."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self.tally = TALLY
        self._pool = pool
        self._client = Oban(pool=pool, name="client", leadership=False)

    async def submit(self, work: str, count: int) -> None:  # noqa: ARG002 - there is but one
        """Insert in batches."""
        for first in range(0, count, LOT):
            jobs = [WORKER.new({}) for _ in range(min(LOT, count - first))]
            await self._client.enqueue_many(jobs)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run one instance with the queue."""
        async with Oban(pool=self._pool, queues={"default": LIMIT}):
            yield

    async def unfinished(self) -> int:
        """Count what is not done."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(UNFINISHED)
            row = await cursor.fetchone()
        return int(row[0])


@asynccontextmanager
async def opened(order: Order) -> AsyncIterator[ObanLibrary]:
    """Open a pool."""
    pool = await Oban.create_pool(order.url, min_size=CONNECTIONS, max_size=CONNECTIONS)
    async with pool:
        library = ObanLibrary(pool)
        async with library._client:  # noqa: SLF001 - it has to be started, too
            yield library


async def set_up(order: Order) -> None:
    """Make its tables."""
    async with await Oban.create_pool(order.url, min_size=1, max_size=1) as pool:
        await install(pool)


if __name__ == "__main__":
    measure(opened, set_up, steps=False)
