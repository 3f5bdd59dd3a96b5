"""`ctx.db` of one attempt: whatever of it is open when the attempt is over is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

import asyncpg

from orchestrator.model.errors import LeaseLost
from orchestrator.store.connect import Record
from orchestrator.store.tenant.database import Lent, TenantDatabase
from orchestrator.store.tenant.journal import Completion
from orchestrator.store.tenant.statements import Statements
from orchestrator.workflow.context import Isolation
from orchestrator.workflow.durable import AttemptOver, OtherLoop

_WITHIN: ContextVar[Lent | None] = ContextVar("within", default=None)
"""The transaction in whose body the code is."""

_HARMLESS = (asyncpg.PostgresError, ValueError, TypeError, LookupError)
"""After these a connection that was rolled back is as good as before."""


class Transaction(Statements):
    """SQL inside one transaction of the tenant's."""


class Session:
    """Implements `ctx.db` over the tenant's connections; a statement alone is a transaction.

    The text of `holder` says who has a connection; it is made for those who ask for one.

    A thread that was left to itself, or a coroutine that a task started and forgot, may keep this
    for ever; it reaches nothing once the attempt is over. That is looked at before anything awaits:
    a left thread's calls run in a cancelled scope, where anyio would turn in circles on the loop.
    """

    # One is made for each attempt, though few ask for a connection.
    __slots__ = ("_closed", "_lent", "_loop", "database", "holder", "lease_lost")

    def __init__(self, database: TenantDatabase, holder: object) -> None:
        self.database = database
        self.holder = holder
        self.lease_lost: LeaseLost | None = None
        self._closed = False
        self._lent: set[Lent] = set()
        self._loop = asyncio.get_running_loop()

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

    def transaction(
        self, *, isolation: Isolation = "read committed"
    ) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction; commits at the end of the body, rolls back when it raises."""
        self.check()
        return Opened(self, isolation)

    def close(self) -> int:
        """Let nothing more through and cut off what is open; return how much that was."""
        self._closed = True
        left, self._lent = self._lent, set()
        for lent in left:
            lent.cut()
        return len(left)

    def check(self) -> None:
        """Raise AttemptOver when the attempt is."""
        if self._closed:
            raise AttemptOver("the attempt is over; its database is out of reach")

    async def begin(self, isolation: Isolation, within: Lent | None) -> Lent:
        """Begin a transaction that ends with the attempt at the latest."""
        self.check()
        if asyncio.get_running_loop() is not self._loop:  # the connections are this one's
            raise OtherLoop("ctx.db")
        with self._noting():
            lent = await self.database.lend(str(self.holder), isolation=isolation, within=within)
        self._lent.add(lent)
        if self._closed:  # while we waited
            self.close()
            self.check()
        return lent

    async def commit(self, lent: Lent) -> None:
        """Commit, and remember when we found that we are not the owner any more."""
        self.check()
        with self._noting():
            await lent.commit()

    async def complete(self, lent: Lent, completion: Completion) -> None:
        """Commit together with the entries that say so."""
        with self._noting():
            await self.database.complete(lent, completion)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except LeaseLost as error:
            self.lease_lost = error
            raise

    def holds(self, lent: Lent | None) -> bool:
        """Tell whether a transaction is one of this attempt's that is open."""
        return lent in self._lent

    def forget(self, lent: Lent) -> None:
        """Take note that a transaction has ended."""
        self._lent.discard(lent)


class Opened:
    """`ctx.db.transaction()`: one transaction, from entering to leaving.

    A class and no generator: one that is never left would be ended by the garbage collector.
    """

    def __init__(self, session: Session, isolation: Isolation) -> None:
        self._session = session
        self._isolation: Isolation = isolation
        self._outer: Lent | None = None
        self._lent: Lent | None = None

    async def __aenter__(self) -> Transaction:
        outer = _WITHIN.get()
        self._outer = outer if self._session.holds(outer) else None
        self._lent = await self._session.begin(self._isolation, self._outer)
        _WITHIN.set(self._lent)
        return Transaction(self._lent.connection)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _WITHIN.set(self._outer)
        lent = self._lent
        if lent is None or lent.over:
            self._session.check()  # cut off with its attempt
            return
        try:
            await self._finish(lent, error)
        finally:
            self._session.forget(lent)

    async def _finish(self, lent: Lent, error: BaseException | None) -> None:
        if error is not None:
            await _undo(lent, error)
            return
        try:
            await self._session.commit(lent)
        except BaseException as failure:
            await _undo(lent, failure)
            raise
        await lent.end()


async def _undo(lent: Lent, error: BaseException) -> None:
    await lent.roll_back()
    if isinstance(error, _HARMLESS):
        await lent.end()
    else:
        # The driver may still be waiting for an answer to what was cancelled.
        lent.cut()
