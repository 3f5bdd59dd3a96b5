"""SQL for tasks.

A few connections logged in as the tenant's application role, opened when first used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import asyncpg

from orchestrator.store.connect import Connection, Record, Target, connect

_HAS_PLACE: ContextVar[bool] = ContextVar("has_place", default=False)
FORGET = """
    RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP;
"""
"""Takes back what a task may have set, opened, locked or made for its session; one round trip."""

ROLLBACK_SECONDS = 2.0
CLOSE_SECONDS = 2.0


class Transaction:
    """SQL inside one transaction of the tenant's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch(self, query: str, *args: object) -> list[Record]:
        """Return all rows."""
        return await self._connection.fetch(query, *args)

    async def fetchrow(self, query: str, *args: object) -> Record | None:
        """Return the first row, or None."""
        return await self._connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the first column of the first row, or None."""
        return await self._connection.fetchval(query, *args)

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement and return its status, such as `INSERT 0 1`."""
        status: str = await self._connection.execute(query, *args)
        return status

    async def executemany(self, query: str, args: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each set of arguments."""
        await self._connection.executemany(query, args)

    async def copy_records(
        self, table: str, *, records: Iterable[Sequence[object]], columns: Sequence[str]
    ) -> str:
        """COPY `records` into `table` and return the status."""
        status: str = await self._connection.copy_records_to_table(
            table, records=records, columns=list(columns)
        )
        return status


class TenantDatabase:
    """`ctx.db`: a connection for each task that uses it, and one kept for the next.

    `places` bounds the connections in use over all tenants of the node. A statement outside
    `transaction` is a transaction of its own. A connection that saw a cancellation in flight is
    thrown away, not handed on.
    """

    def __init__(self, target: Target, *, application_name: str, places: anyio.Semaphore) -> None:
        self._target = target
        self._name = application_name
        self._places = places
        self._idle: list[Connection] = []

    async def fetch(self, query: str, *args: object) -> list[Record]:
        """Return all rows."""
        async with self.transaction() as tx:
            return await tx.fetch(query, *args)

    async def fetchrow(self, query: str, *args: object) -> Record | None:
        """Return the first row, or None."""
        async with self.transaction() as tx:
            return await tx.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the first column of the first row, or None."""
        async with self.transaction() as tx:
            return await tx.fetchval(query, *args)

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement and return its status, such as `INSERT 0 1`."""
        async with self.transaction() as tx:
            return await tx.execute(query, *args)

    async def executemany(self, query: str, args: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each set of arguments, all or nothing."""
        async with self.transaction() as tx:
            await tx.executemany(query, args)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Begin a transaction; commits at the end of the body, rolls back when it raises."""
        async with self._place(), self._borrow() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield Transaction(connection)
            except BaseException:
                await _roll_back(connection, transaction)
                raise
            await transaction.commit()

    async def close(self) -> None:
        """Close the connections that nobody uses."""
        idle, self._idle = self._idle, []
        for connection in idle:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True) as deadline:
                await connection.close(timeout=CLOSE_SECONDS)
            if deadline.cancelled_caught:
                connection.terminate()

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Take one of the node's places, once for each task.

        A task that has a transaction open and asks for more gets it without waiting: tasks that
        hold one place each and wait for another would wait for ever.
        """
        if _HAS_PLACE.get():
            yield
            return
        async with self._places:
            before = _HAS_PLACE.set(True)
            try:
                yield
            finally:
                _HAS_PLACE.reset(before)

    @asynccontextmanager
    async def _borrow(self) -> AsyncIterator[Connection]:
        connection = self._reuse() or await connect(self._target, application_name=self._name)
        try:
            yield connection
        except (asyncpg.PostgresError, ValueError, TypeError, LookupError):
            await self._give_back(connection)
            raise
        except BaseException:
            # The driver may still be waiting for an answer to what was cancelled.
            connection.terminate()
            raise
        await self._give_back(connection)

    def _reuse(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _give_back(self, connection: Connection) -> None:
        """Keep one connection for the next task, without anything that the last one left in it."""
        if self._idle or connection.is_closed() or connection.is_in_transaction():
            connection.terminate()
            return
        with anyio.move_on_after(ROLLBACK_SECONDS, shield=True):
            try:
                await connection.execute(FORGET)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                connection.terminate()
                return
            self._idle.append(connection)
            return
        connection.terminate()


async def _roll_back(connection: Connection, transaction: Any) -> None:
    """Roll back even while we are being cancelled; a connection that does not answer is cut."""
    with anyio.move_on_after(ROLLBACK_SECONDS, shield=True) as deadline:
        try:
            await transaction.rollback()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            connection.terminate()
    if deadline.cancelled_caught:
        connection.terminate()
