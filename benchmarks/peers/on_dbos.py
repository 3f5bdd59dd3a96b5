"""DBOS Transact: workflows from a queue to drain, started in process for both together.

A tenant is a system schema of its own and, as the library keeps one instance a process, a process.
What a killed process has left is resumed by the next one of the same executor.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions
from sqlalchemy import create_engine, text

from benchmarks.peers.script import measure
from benchmarks.peers.work import STEPS, Tally
from benchmarks.protocol import Order

QUEUE = "default"
POOL = 20
IN_TENANT = 4
"""Connections of each of many tenants, so that the server has enough of them."""

THREADS = 8
POLL = 0.1
"""Seconds between two looks at the queue; 1.0 unless it is told."""

TALLY = Tally()
UNFINISHED = "SELECT count(*) FROM {}.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')"


@DBOS.step()
def nothing() -> int:
    """Do nothing, durably."""
    return 1


@DBOS.workflow()
def one_step() -> int:
    """Make one step."""
    TALLY.start()
    done: int = nothing()
    TALLY.end()
    return done


@DBOS.workflow()
def five_steps() -> int:
    """Make five steps."""
    TALLY.start()
    done: int = sum(nothing() for _ in range(STEPS))
    TALLY.end()
    return done


@DBOS.workflow()
async def hold() -> None:
    """Hold on."""
    await TALLY.hold(DBOS.workflow_id)


WORKFLOWS = {"one_step": one_step, "five_steps": five_steps}


class Dbos:
    """The library keeps one instance a process; it is launched while something is to be run."""

    def __init__(self, order: Order) -> None:
        self.tally = TALLY
        self._order = order
        self._launched = False
        self._engine = create_engine(_sqlalchemy(order.url))
        self._client = DBOSClient(
            system_database_url=order.url, dbos_system_schema=order.schema, lazy=True
        )

    async def submit(self, work: str, count: int) -> None:
        """Start in this process when it is launched, else leave it in the queue."""
        method = self._start if self._launched else self._enqueue
        each, more = divmod(count, THREADS)
        shares = [each + (number < more) for number in range(THREADS)]
        await asyncio.gather(*(asyncio.to_thread(method, work, share) for share in shares))

    def _start(self, work: str, count: int) -> None:
        for _ in range(count):
            DBOS.start_workflow(WORKFLOWS[work])

    def _enqueue(self, work: str, count: int) -> None:
        options: EnqueueOptions = {"queue_name": QUEUE, "workflow_name": work}
        for _ in range(count):
            self._client.enqueue(options)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Launch it."""
        await asyncio.to_thread(self._launch)
        try:
            yield
        finally:
            self._launched = False
            await asyncio.to_thread(DBOS.destroy)

    def _launch(self) -> None:
        DBOS(config=_config(self._order))
        DBOS.launch()
        DBOS.register_queue(QUEUE, polling_interval_sec=POLL)
        self._launched = True

    async def unfinished(self) -> int:
        """Count what is not done."""

        def count() -> int:
            with self._engine.connect() as connection:
                return int(
                    connection.execute(text(UNFINISHED.format(self._order.schema))).scalar_one()
                )

        return await asyncio.to_thread(count)


def _config(order: Order) -> DBOSConfig:
    return {
        "name": "bench",
        "system_database_url": order.url,
        "dbos_system_schema": order.schema,
        "sys_db_pool_size": IN_TENANT if order.work == "tenant" else POOL,
        "application_version": "1",
        "log_level": "ERROR",
    }


def _sqlalchemy(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


@asynccontextmanager
async def opened(order: Order) -> AsyncIterator[Dbos]:
    """Return it; it connects when it is launched."""
    yield Dbos(order)


async def set_up(order: Order) -> None:
    """Let it make its tables: it does when it is launched."""
    library = Dbos(order)
    async with library.working():
        pass


if __name__ == "__main__":
    measure(opened, set_up, steps=True, one_a_process=True)
