"""Absurd: eight workers, each with a connection and 25 tasks at a time; eight clients spawn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from absurd_sdk import AsyncAbsurd, AsyncTaskContext
from absurdctl import BUNDLED_SCHEMA_SQL
from psycopg import AsyncConnection

from benchmarks.peers.work import STEPS, Tally, measure
from benchmarks.protocol import Order

CONNECTIONS = 8
CONCURRENCY = 25
POLL = 0.02
"""Seconds between two looks of an idle worker; 0.25 unless it is told."""

UNFINISHED = "SELECT count(*) FROM absurd.t_default WHERE state NOT IN ('completed', 'failed')"


class Absurd:
    """Tasks and steps, each a call of a function in the database."""

    def __init__(self, url: str, connection: AsyncConnection, clients: list[AsyncAbsurd]) -> None:
        self.tally = Tally()
        self._url = url
        self._connection = connection
        self._clients = clients

    async def submit(self, work: str, count: int) -> None:
        """Spawn one by one, as there is nothing else, over all connections."""
        left = iter(range(count))

        async def spawn(client: AsyncAbsurd) -> None:
            for _ in left:
                await client.spawn(work, {}, queue="default")

        await asyncio.gather(*(spawn(client) for client in self._clients))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run the workers."""
        async with AsyncExitStack() as stack:
            workers = [
                await stack.enter_async_context(_connected(self._url)) for _ in range(CONNECTIONS)
            ]
            for worker in workers:
                worker.register_task("one_step")(self._one_step)
                worker.register_task("five_steps")(self._five_steps)
            tasks = [
                asyncio.create_task(
                    worker.start_worker(
                        concurrency=CONCURRENCY, poll_interval=POLL, worker_id=str(number)
                    )
                )
                for number, worker in enumerate(workers)
            ]
            try:
                yield
            finally:
                for worker in workers:
                    worker.stop_worker()
                await asyncio.gather(*tasks)

    async def unfinished(self) -> int:
        """Count what is not done."""
        cursor = await self._connection.execute(UNFINISHED)
        ((count,),) = await cursor.fetchall()
        return int(count)

    async def _one_step(self, _: object, context: AsyncTaskContext) -> int:
        self.tally.start()
        await context.step("step", _nothing)
        self.tally.end()
        return 1

    async def _five_steps(self, _: object, context: AsyncTaskContext) -> int:
        self.tally.start()
        for number in range(STEPS):
            await context.step(f"step_{number}", _nothing)
        self.tally.end()
        return STEPS


async def _nothing() -> int:
    return 1


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[AsyncAbsurd]:
    client = AsyncAbsurd(url, queue_name="default")
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def opened(order: Order) -> AsyncIterator[Absurd]:
    """Connect."""
    async with AsyncExitStack() as stack:
        connection = await AsyncConnection.connect(order.url, autocommit=True)
        await stack.enter_async_context(connection)
        clients = [
            await stack.enter_async_context(_connected(order.url)) for _ in range(CONNECTIONS)
        ]
        yield Absurd(order.url, connection, clients)


async def set_up(order: Order) -> None:
    """Make its tables and the queue."""
    async with await AsyncConnection.connect(order.url, autocommit=True) as connection:
        await connection.execute(BUNDLED_SCHEMA_SQL)
    async with _connected(order.url) as client:
        await client.create_queue("default")


if __name__ == "__main__":
    measure(opened, set_up, steps=True)
