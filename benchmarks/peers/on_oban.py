"""Oban for Python: psycopg, inserted in batches of 1,000, one queue with 200 jobs at a time.

A tenant is a prefix, which is a schema, and an instance; all instances share a pool. What a killed
instance has left is rescued after 300 s unless it is told otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from oban import Oban, worker
from oban.job import Job
from oban.schema import install
from psycopg_pool import AsyncConnectionPool

from benchmarks.peers.script import measure
from benchmarks.peers.work import Tally
from benchmarks.protocol import Order

LOT = 1000
LIMIT = 200
CONNECTIONS = 10
UNFINISHED = "SELECT count(*) FROM {}.oban_jobs WHERE state IN ('available', 'executing')"
TALLY = Tally()
POOLS: list[AsyncConnectionPool] = []


class OneStep:
    """The work."""

    async def process(self, job: Job) -> None:  # noqa: ARG002 - what is called
        """Do nothing."""
        TALLY.start()
        TALLY.end()


class Hold:
    """The work of E."""

    async def process(self, job: Job) -> None:
        """Hold on."""
        await TALLY.hold(job.id)


WORKERS: dict[str, Any] = {
    "one_step": worker(queue="default")(OneStep),
    "hold": worker(queue="default")(Hold),
}


class ObanLibrary:
    """It has no steps."""

    def __init__(self, pool: AsyncConnectionPool, schema: str) -> None:
        self.tally = TALLY
        self._pool = pool
        self._schema = schema
        self._client = Oban(pool=pool, prefix=schema, name=f"{schema} client", leadership=False)

    async def submit(self, work: str, count: int) -> None:
        """Insert in batches."""
        for first in range(0, count, LOT):
            jobs = [WORKERS[work].new({}) for _ in range(min(LOT, count - first))]
            await self._client.enqueue_many(jobs)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run one instance with the queue."""
        queues = {"default": LIMIT}
        async with Oban(pool=self._pool, prefix=self._schema, name=self._schema, queues=queues):
            yield

    async def unfinished(self) -> int:
        """Count what is not done."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(UNFINISHED.format(self._schema))
            row = await cursor.fetchone()
        return int(row[0])


@asynccontextmanager
async def opened(order: Order) -> AsyncIterator[ObanLibrary]:
    """Open a pool, or share the one that is open."""
    async with _pool(order.url) as pool:
        library = ObanLibrary(pool, order.schema)
        async with library._client:  # noqa: SLF001 - it has to be started, too
            yield library


@asynccontextmanager
async def _pool(url: str) -> AsyncIterator[AsyncConnectionPool]:
    """Yield the process's pool; who opened it closes it."""
    if POOLS:
        yield POOLS[0]
        return
    async with await Oban.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        POOLS.append(pool)
        yield pool
        POOLS.clear()


async def set_up(order: Order) -> None:
    """Make its tables."""
    async with await Oban.create_pool(order.url, min_size=1, max_size=1) as pool:
        async with pool.connection() as connection:
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {order.schema}")
        await install(pool, order.schema)


if __name__ == "__main__":
    measure(opened, set_up, steps=False)
