"""One attempt's way to what a test gives as its database: shut when the attempt is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import anyio

from orchestrator.engine.outcome import Outcome, Succeeded, failed
from orchestrator.workflow.context import Database, Isolation, Queries, Row, Transaction
from orchestrator.workflow.define import AnyTask
from orchestrator.workflow.durable import AttemptOver


class Access:
    """`ctx.db` of one attempt.

    A thread that was left to itself, or a coroutine that a task started and forgot, may keep this
    for ever; it reaches nothing once the attempt is over. That is looked at before anything awaits:
    a left thread's calls run in a cancelled scope, where anyio would turn in circles on the loop.
    """

    def __init__(self, database: Database) -> None:
        self._database: Database | None = database

    def close(self) -> None:
        """Let nothing more through."""
        self._database = None

    async def fetch(self, query: str, *args: object) -> Sequence[Row]:
        """Return all rows."""
        return await (await self._queries()).fetch(query, *args)

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """Return the first row, or None."""
        return await (await self._queries()).fetchrow(query, *args)

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the first column of the first row, or None."""
        return await (await self._queries()).fetchval(query, *args)

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement and return its status."""
        return await (await self._queries()).execute(query, *args)

    async def executemany(self, query: str, args: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each set of arguments, all or nothing."""
        await (await self._queries()).executemany(query, args)

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read committed"
    ) -> AsyncIterator[Transaction]:
        """Begin a transaction; commits at the end of the body, rolls back when it raises."""
        async with self._open().transaction(isolation=isolation) as transaction:
            yield transaction

    async def _queries(self) -> Queries:
        return self._open()

    def _open(self) -> Database:
        if self._database is None:
            raise AttemptOver("the attempt is over; its database is out of reach")
        return self._database


class Undone(Exception):
    """Thrown into the transaction of an attempt that did not succeed."""


class Whole(Access):
    """`ctx.db` of a transactional task: one transaction of the test's database.

    It begins with the first statement. A transaction within it is that same one, and no savepoint:
    what its body did is undone with all the rest or not at all.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._stack = AsyncExitStack()
        self._begun: Transaction | None = None
        self._turn = anyio.Lock()

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read committed"
    ) -> AsyncIterator[Transaction]:
        """Yield the one transaction there is."""
        if isolation != "read committed":
            raise ValueError("the transaction of a transactional task is read committed")
        yield await self._queries()

    async def conclude(self, result: Outcome, task: AnyTask) -> Outcome:
        """Commit when the attempt has succeeded, else undo; a commit that is refused fails it."""
        if not isinstance(result, Succeeded):
            await self.undo()
            return result
        try:
            await self._stack.aclose()
        except Exception as error:  # noqa: BLE001 - the database refused it, so the attempt failed
            return failed(error, task.name, task.retry)
        return result

    async def undo(self) -> None:
        """Undo what was not committed."""
        with suppress(Undone), anyio.CancelScope(shield=True):
            async with self._stack.pop_all():
                raise Undone

    async def _queries(self) -> Transaction:
        database = self._open()
        async with self._turn:
            if self._begun is None:
                begun = database.transaction()
                self._begun = await self._stack.enter_async_context(begun)
        return self._begun
