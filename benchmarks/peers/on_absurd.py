"""Absurd: eight workers, each with a connection and 25 tasks at a time; eight clients spawn.

It has one schema; a tenant is a queue, which has tables of its own, with a worker and a client. A
task whose worker is gone is claimed again after 120 s unless it is told otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from absurd_sdk import AsyncAbsurd, AsyncTaskContext
from absurdctl import BUNDLED_SCHEMA_SQL
from psycopg import AsyncConnection

from benchmarks.peers.script import measure
from benchmarks.peers.work import STEPS, Tally
from benchmarks.protocol import Order

CONNECTIONS = 8
CONCURRENCY = 25
POLL = 0.02
"""Seconds between two looks of an idle worker; 0.25 unless it is told."""

UNFINISHED = "SELECT count(*) FROM absurd.t_{} WHERE state NOT IN ('completed', 'failed')"


class Absurd:
    """Tasks and steps, each a call of a function in the database."""

    def __init__(
        self, order: Order, connection: AsyncConnection, clients: list[AsyncAbsurd]
    ) -> None:
        self.tally = Tally()
        self._order = order
        self._connection = connection
        self._clients = clients

    async def submit(self, work: str, count: int) -> None:
        """Spawn one by one, as there is nothing else, over all connections."""
        left = iter(range(count))

        async def spawn(client: AsyncAbsurd) -> None:
            for _ in left:
                await client.spawn(work, {}, queue=self._order.schema)

        await asyncio.gather(*(spawn(client) for client in self._clients))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run the workers."""
        async with AsyncExitStack() as stack:
            workers = [
                await stack.enter_async_context(_connected(self._order))
                for _ in range(_connections(self._order))
            ]
            for worker in workers:
                worker.register_task("one_step")(self._one_step)
                worker.register_task("five_steps")(self._five_steps)
                worker.register_task("hold")(self._hold)
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
        cursor = await self._connection.execute(UNFINISHED.format(self._order.schema))
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

    async def _hold(self, _: object, context: AsyncTaskContext) -> None:
        await self.tally.hold(context.task_id)


async def _nothing() -> int:
    return 1


@asynccontextmanager
async def _connected(order: Order) -> AsyncIterator[AsyncAbsurd]:
    client = AsyncAbsurd(order.url, queue_name=order.schema)
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
            await stack.enter_async_context(_connected(order)) for _ in range(_connections(order))
        ]
        yield Absurd(order, connection, clients)


def _connections(order: Order) -> int:
    return 1 if order.work == "tenant" else CONNECTIONS


async def set_up(order: Order) -> None:
    """Make its tables and the queue."""
    async with await AsyncConnection.connect(order.url, autocommit=True) as connection:
        cursor = await connection.execute("SELECT to_regnamespace('absurd')")
        if await cursor.fetchone() == (None,):
            await connection.execute(BUNDLED_SCHEMA_SQL)
    async with _connected(order) as client:
        await client.create_queue(order.schema)


if __name__ == "__main__":
    measure(opened, set_up, steps=True)
