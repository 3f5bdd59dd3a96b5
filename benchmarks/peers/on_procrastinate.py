"""Procrastinate: psycopg, deferred in batches of 1,000, one worker with 30 jobs at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from procrastinate import App, PsycopgConnector

from benchmarks.peers.work import Tally, measure
from benchmarks.protocol import Order

LOT = 1000
CONCURRENCY = 30
CONNECTIONS = 30
UNFINISHED = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"


class Procrastinate:
    """It has no steps."""

    def __init__(self, app: App) -> None:
        self.tally = Tally()
        self._app = app

        @app.task(name="one_step")
        async def one_step() -> None:
            self.tally.start()
            self.tally.end()

        self._task = one_step

    async def submit(self, work: str, count: int) -> None:  # noqa: ARG002 - there is but one
        """Defer in batches."""
        for first in range(0, count, LOT):
            await self._task.batch_defer_async(*[{}] * min(LOT, count - first))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run one worker."""
        task = asyncio.create_task(
            self._app.run_worker_async(
                concurrency=CONCURRENCY, install_signal_handlers=False, listen_notify=True
            )
        )
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def unfinished(self) -> int:
        """Count what is not done."""
        row = await self._app.connector.execute_query_one_async(UNFINISHED)
        return int(row["count"])


@asynccontextmanager
async def opened(order: Order) -> AsyncIterator[Procrastinate]:
    """Open a pool."""
    app = _app(order)
    async with app.open_async():
        yield Procrastinate(app)


async def set_up(order: Order) -> None:
    """Make its tables."""
    app = _app(order)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


def _app(order: Order) -> App:
    return App(connector=PsycopgConnector(conninfo=order.url, min_size=1, max_size=CONNECTIONS))


if __name__ == "__main__":
    measure(opened, set_up, steps=False)
