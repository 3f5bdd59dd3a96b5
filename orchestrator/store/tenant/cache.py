"""The cache of one tenant in its own schema, over a connection of its application's login."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, TypeVar

import anyio
import asyncpg

from orchestrator.model.errors import DatabaseUnavailable
from orchestrator.store import sql
from orchestrator.store.connect import CLOSE_SECONDS, Connection, translated
from orchestrator.store.tenant.login import Login
from orchestrator.workflow.cache import NotANumber
from orchestrator.workflow.durable import OtherLoop

_QUERIES = sql.load(__name__)
READ = _QUERIES["read"]
WRITE = _QUERIES["write"]
WRITE_IF_ABSENT = _QUERIES["write_if_absent"]
SWAP = _QUERIES["swap"]
ADD = _QUERIES["add"]
REMOVE = _QUERIES["remove"]
KEYS = _QUERIES["keys"]
CLEAR = _QUERIES["clear"]
SIZE = _QUERIES["size"]
TRIM = _QUERIES["trim"]
SCHEMA_NUMBER = _QUERIES["schema_number"]

ANSWER_SECONDS = 5.0
"""How long one call may take; a cache that is slower is of no use."""

SETTINGS = {
    "search_path": "pg_catalog, pg_temp",
    "statement_timeout": "5s",
    "lock_timeout": "1s",
    "idle_in_transaction_session_timeout": "60s",
    # What may be lost need not be waited for, where anything of it is logged at all.
    "synchronous_commit": "off",
}

T = TypeVar("T")


class Run(Protocol):
    """Runs something on a connection of the tenant's application login."""

    async def __call__(self, act: Callable[[Connection], Awaitable[T]], /) -> T: ...


class CacheConnection:
    """One connection, opened when it is first used, for one call at a time."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._turn = anyio.Lock()
        self._connection: Connection | None = None
        self._loop = asyncio.get_running_loop()

    async def run(self, act: Callable[[Connection], Awaitable[T]], /) -> T:
        """Call `act`; DatabaseUnavailable when the server does not answer in time."""
        if asyncio.get_running_loop() is not self._loop:
            raise OtherLoop("ctx.cache")
        async with self._turn:
            try:
                with answered():
                    return await act(await self._live())
            except DatabaseUnavailable:
                self._drop()
                raise

    async def close(self) -> None:
        """Close the connection, by force when it does not answer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                await connection.close()
            connection.terminate()

    async def _live(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._login.connect()
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


class PostgresStore:
    """Keeps a tenant's cache in its schema; implements `orchestrator.cache.store.Store`."""

    def __init__(self, run: Run, schema: str) -> None:
        self._run = run
        self._schema = schema

    async def read(self, space: str, keys: Sequence[str]) -> dict[str, str]:
        """Return the values of those keys that are there."""
        rows = await self._run(lambda c: c.fetch(self._bind(READ), space, list(keys)))
        return {row["key"]: row["value"] for row in rows}

    async def write(self, space: str, values: Mapping[str, str], ttl: timedelta | None) -> None:
        """Put values in the place of those that are there."""
        given = (space, list(values), list(values.values()), ttl)
        await self._run(lambda c: c.execute(self._bind(WRITE), *given))

    async def write_if_absent(
        self, space: str, key: str, value: str, ttl: timedelta | None
    ) -> bool:
        """Put a value where there is none."""
        text = self._bind(WRITE_IF_ABSENT)
        return await self._run(lambda c: c.fetchval(text, space, key, value, ttl)) is not None

    async def swap(
        self, space: str, key: str, expected: str, value: str, ttl: timedelta | None
    ) -> bool:
        """Put a value in the place of `expected`."""
        text = self._bind(SWAP)
        return (
            await self._run(lambda c: c.fetchval(text, space, key, expected, value, ttl))
            is not None
        )

    async def add(self, space: str, key: str, by: int, ttl: timedelta | None) -> int:
        """Add to a counter, which begins at 0, and return it; NotANumber."""
        text = self._bind(ADD)
        try:
            found: int = await self._run(lambda c: c.fetchval(text, space, key, by, ttl))
        except (asyncpg.InvalidTextRepresentationError, asyncpg.NumericValueOutOfRangeError):
            raise NotANumber(key) from None
        return found

    async def remove(self, space: str, keys: Sequence[str]) -> int:
        """Delete keys; return how many were there."""
        found: int = await self._run(lambda c: c.fetchval(self._bind(REMOVE), space, list(keys)))
        return found

    async def keys(self, space: str, like: str, limit: int) -> list[str]:
        """Return the keys that fit a LIKE pattern, by name, at most `limit`."""
        rows = await self._run(lambda c: c.fetch(self._bind(KEYS), space, like, limit))
        return [key for (key,) in rows]

    async def clear(self, space: str) -> int:
        """Delete all of a namespace and of those within it; return how many there were."""
        found: int = await self._run(lambda c: c.fetchval(self._bind(CLEAR), space))
        return found

    async def size(self, space: str) -> tuple[int, int]:
        """Return how many entries a namespace has with those within it, and their bytes."""
        row = await self._run(lambda c: c.fetchrow(self._bind(SIZE), space))
        return (0, 0) if row is None else (row[0], row[1])

    async def trim(self, entries: int, size: int) -> None:
        """Delete what is over, and what was written longest ago beyond these bounds."""
        await self._run(lambda c: c.execute(self._bind(TRIM), entries, size))

    def _bind(self, query: str) -> str:
        return sql.bind(query, self._schema)


async def schema_number(connection: Connection, schema: str) -> int:
    """Return what tells a schema from all that had, or will have, its name in this database."""
    number: int = await connection.fetchval(SCHEMA_NUMBER, schema)
    return number


@contextmanager
def answered() -> Iterator[None]:
    """Raise DatabaseUnavailable for a body that the server keeps from ending in time."""
    with translated("the cache does not answer"):
        with anyio.move_on_after(ANSWER_SECONDS) as deadline:
            yield
        if deadline.cancelled_caught:
            raise TimeoutError(f"no answer in {ANSWER_SECONDS:g} s")
