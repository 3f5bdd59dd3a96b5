"""`ctx.db` of a transactional task: one transaction, committed together with its completion."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import Any

import anyio

from orchestrator.store.connect import DRIVER_ERRORS, Connection, Record
from orchestrator.store.tenant.database import ROLLBACK_SECONDS, Lent
from orchestrator.store.tenant.journal import Completion
from orchestrator.store.tenant.session import Session
from orchestrator.workflow.context import Isolation
from orchestrator.workflow.durable import AttemptOver


class Body:
    """The task itself, or the body of a transaction within it: its statements, one at a time."""

    def __init__(self, outer: Body | None = None) -> None:
        self.lock = anyio.Lock()
        self.outer = outer
        self.over = False


_BODY: ContextVar[Body | None] = ContextVar("body", default=None)


class Whole:
    """Implements `ctx.db` in one transaction, which begins with the first statement.

    A transaction within it is a savepoint. Statements made side by side run one after another, and
    those from outside the body of a savepoint wait for its end: it can not undo them.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lent: Lent | None = None
        self._root = Body()
        self._sealed = False

    async def fetch(self, query: str, *args: object) -> list[Record]:
        """Return all rows."""
        async with self._statement() as connection:
            return await connection.fetch(query, *args)

    async def fetchrow(self, query: str, *args: object) -> Record | None:
        """Return the first row, or None."""
        async with self._statement() as connection:
            return await connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the first column of the first row, or None."""
        async with self._statement() as connection:
            return await connection.fetchval(query, *args)

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement and return its status, such as `INSERT 0 1`."""
        async with self._statement() as connection:
            status: str = await connection.execute(query, *args)
            return status

    async def executemany(self, query: str, args: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each set of arguments."""
        async with self._statement() as connection:
            await connection.executemany(query, args)

    async def copy_records(
        self, table: str, *, records: Iterable[Sequence[object]], columns: Sequence[str]
    ) -> str:
        """COPY `records` into `table` and return the status."""
        async with self._statement() as connection:
            status: str = await connection.copy_records_to_table(
                table, records=records, columns=list(columns)
            )
            return status

    def transaction(
        self, *, isolation: Isolation = "read committed"
    ) -> AbstractAsyncContextManager[Whole]:
        """Set a savepoint; what the body did is undone when it raises."""
        self._check()
        if isolation != "read committed":
            raise ValueError("the transaction of a transactional task is read committed")
        return self._savepoint()

    @property
    def begun(self) -> bool:
        """True once a statement was made."""
        return self._lent is not None

    def seal(self) -> bool:
        """Let no further statement in: the task has returned; tell whether one is under way."""
        self._sealed = True
        return self._root.lock.locked()

    async def complete(self, completion: Completion) -> None:
        """Commit, together with the entries that say so; see `TenantDatabase.complete`."""
        await self._session.complete(await self._begun(), completion)

    async def end(self) -> None:
        """Undo what was not committed, and hand the connection on."""
        lent = self._lent
        if lent is None or lent.over:
            return
        self._session.forget(lent)
        if not lent.connection.is_closed() and lent.connection.is_in_transaction():
            await lent.roll_back()
        await lent.end()

    @asynccontextmanager
    async def _statement(self) -> AsyncIterator[Connection]:
        self._check()
        async with self._body().lock:
            yield (await self._begun()).connection

    @asynccontextmanager
    async def _savepoint(self) -> AsyncIterator[Whole]:
        outer = self._body()
        async with outer.lock:
            connection = (await self._begun()).connection
            await connection.execute("SAVEPOINT body")
            body = Body(outer)
            _BODY.set(body)
            try:
                yield self
            except BaseException:
                await self._undo_body(connection)
                raise
            else:
                await connection.execute("RELEASE SAVEPOINT body")
            finally:
                body.over = True
                _BODY.set(outer)

    async def _undo_body(self, connection: Connection) -> None:
        """Undo a body, also while it is being cancelled; if that can not be, the whole."""
        with anyio.move_on_after(ROLLBACK_SECONDS, shield=True):
            try:
                await connection.execute("ROLLBACK TO SAVEPOINT body; RELEASE SAVEPOINT body")
            except DRIVER_ERRORS:
                connection.terminate()
            return
        connection.terminate()

    def _body(self) -> Body:
        """Return the innermost body that the calling code is in and that is not over."""
        body = _BODY.get()
        while body is not None and body.over:
            body = body.outer
        return body or self._root

    async def _begun(self) -> Lent:
        if self._lent is None:
            self._lent = await self._session.begin("read committed", None)
        return self._lent

    def _check(self) -> None:
        self._session.check()
        if self._sealed:
            raise AttemptOver("the task has returned; its transaction takes nothing more")
