"""One attempt's way to what a test gives as its database: shut when the attempt is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from orchestrator.workflow.context import Database, Isolation, Row, Transaction
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
        return await self._open().fetch(query, *args)

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """Return the first row, or None."""
        return await self._open().fetchrow(query, *args)

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the first column of the first row, or None."""
        return await self._open().fetchval(query, *args)

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement and return its status."""
        return await self._open().execute(query, *args)

    async def executemany(self, query: str, args: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each set of arguments, all or nothing."""
        await self._open().executemany(query, args)

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read committed"
    ) -> AsyncIterator[Transaction]:
        """Begin a transaction; commits at the end of the body, rolls back when it raises."""
        async with self._open().transaction(isolation=isolation) as transaction:
            yield transaction

    def _open(self) -> Database:
        if self._database is None:
            raise AttemptOver("the attempt is over; its database is out of reach")
        return self._database
