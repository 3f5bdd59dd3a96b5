"""The cache of a tenant for application code, in its schema: the one that its tasks have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

from orchestrator.application.pool import Pool
from orchestrator.cache.store import Store
from orchestrator.store.connect import Connection
from orchestrator.store.tenant.cache import answered

T = TypeVar("T")


class PooledRun:
    """Runs something on a connection of a pool, which keeps it when all went well."""

    def __init__(self, pool: Pool, tenant: str) -> None:
        self._pool = pool
        self._tenant = tenant

    async def __call__(self, act: Callable[[Connection], Awaitable[T]], /) -> T:
        """Call `act`; DatabaseUnavailable when the server does not answer in time."""
        with answered():
            async with self._pool.lend(self._tenant) as connection:
                try:
                    return await act(connection)
                except BaseException:
                    connection.terminate()  # nobody knows what it still waits for
                    raise


class SoughtStore:
    """A store that is sought when it is used, since where it is has to be asked for."""

    def __init__(self, seek: Callable[[], Awaitable[Store]]) -> None:
        self._seek = seek

    async def read(self, space: str, keys: Sequence[str], /) -> dict[str, str]:
        """Return the values of those keys that are there."""
        return await (await self._seek()).read(space, keys)

    async def write(self, space: str, values: Mapping[str, str], ttl: timedelta | None, /) -> None:
        """Put values in the place of those that are there."""
        await (await self._seek()).write(space, values, ttl)

    async def write_if_absent(
        self, space: str, key: str, value: str, ttl: timedelta | None, /
    ) -> bool:
        """Put a value where there is none."""
        return await (await self._seek()).write_if_absent(space, key, value, ttl)

    async def swap(
        self, space: str, key: str, expected: str, value: str, ttl: timedelta | None, /
    ) -> bool:
        """Put a value in the place of `expected`."""
        return await (await self._seek()).swap(space, key, expected, value, ttl)

    async def add(self, space: str, key: str, by: int, ttl: timedelta | None, /) -> int:
        """Add to a counter, which begins at 0, and return it; NotANumber."""
        return await (await self._seek()).add(space, key, by, ttl)

    async def remove(self, space: str, keys: Sequence[str], /) -> int:
        """Delete keys; return how many were there."""
        return await (await self._seek()).remove(space, keys)

    async def keys(self, space: str, like: str, limit: int, /) -> list[str]:
        """Return the keys that fit a LIKE pattern, by name, at most `limit`."""
        return await (await self._seek()).keys(space, like, limit)

    async def clear(self, space: str, /) -> int:
        """Delete all of a namespace and of those within it; return how many there were."""
        return await (await self._seek()).clear(space)

    async def size(self, space: str, /) -> tuple[int, int]:
        """Return how many entries a namespace has with those within it, and their bytes."""
        return await (await self._seek()).size(space)

    async def trim(self, entries: int, size: int, /) -> None:
        """Delete what is over, and what was written longest ago beyond these bounds."""
        await (await self._seek()).trim(entries, size)
