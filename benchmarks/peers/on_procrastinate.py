"""Procrastinate: psycopg, deferred in batches of 1,000, four workers with 8 jobs at a time each.

A worker fetches one job after the other, so several in one process are faster than one that may
do more at a time. A tenant is a schema (search_path), an app with a pool of its own, and a worker.
A stalled job is taken again by the periodic task that the documentation advises, here every ten
seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from procrastinate import App, JobContext, PsycopgConnector

from benchmarks.peers.script import measure
from benchmarks.peers.work import Tally
from benchmarks.protocol import Order

LOT = 1000
WORKERS = 4
CONCURRENCY = 8
CONNECTIONS = 30
HOLDING = 15
"""Jobs at a time where 50 are held, and the task that looks for stalled ones has to run."""

IN_TENANT = 5
"""Jobs at a time, and connections, of each of many tenants."""

RETRY = "* * * * * */10"
"""Every ten seconds; only what has no heartbeat for 30 s is retried."""

UNFINISHED = """
    SELECT count(*) FROM procrastinate_jobs
    WHERE status IN ('todo', 'doing') AND task_name = 'one_step'
"""


class Procrastinate:
    """It has no steps."""

    def __init__(self, app: App, workers: int, concurrency: int) -> None:
        self.tally = Tally()
        self._app = app
        self._workers = workers
        self._concurrency = concurrency

        @app.task(name="one_step")
        async def one_step() -> None:
            self.tally.start()
            self.tally.end()

        @app.task(name="hold", pass_context=True)
        async def hold(context: JobContext) -> None:
            await self.tally.hold(context.job.id)

        @app.periodic(cron=RETRY)
        @app.task(queueing_lock="retry_stalled_jobs")
        async def retry_stalled_jobs(timestamp: int) -> None:  # noqa: ARG001 - what is called
            for job in await app.job_manager.get_stalled_jobs():
                await app.job_manager.retry_job(job)

        self._tasks = {"one_step": one_step, "hold": hold}

    async def submit(self, work: str, count: int) -> None:
        """Defer in batches."""
        for first in range(0, count, LOT):
            await self._tasks[work].batch_defer_async(*[{}] * min(LOT, count - first))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run the workers."""
        tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self) -> None:
        await self._app.run_worker_async(
            concurrency=self._concurrency, install_signal_handlers=False, listen_notify=True
        )

    async def unfinished(self) -> int:
        """Count what is not done."""
        row = await self._app.connector.execute_query_one_async(UNFINISHED)
        return int(row["count"])


@asynccontextmanager
async def opened(order: Order) -> AsyncIterator[Procrastinate]:
    """Open a pool."""
    app = _app(order)
    workers = 1 if order.work == "tenant" else WORKERS
    concurrency = {"tenant": IN_TENANT, "live": HOLDING}.get(order.work, CONCURRENCY)
    async with app.open_async():
        yield Procrastinate(app, workers, concurrency)


async def set_up(order: Order) -> None:
    """Make its tables."""
    app = _app(order)
    async with app.open_async():
        await app.connector.execute_query_async(f"CREATE SCHEMA IF NOT EXISTS {order.schema}")
        await app.schema_manager.apply_schema_async()


def _app(order: Order) -> App:
    connections = IN_TENANT if order.work == "tenant" else CONNECTIONS
    return App(
        connector=PsycopgConnector(
            conninfo=order.url,
            kwargs={"options": f"-c search_path={order.schema}"},
            min_size=1,
            max_size=connections,
        )
    )


if __name__ == "__main__":
    measure(opened, set_up, steps=False)
