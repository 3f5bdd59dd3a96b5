"""Where the values of a tenant's cache are kept: texts by namespace and key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol


class Store(Protocol):
    """Keeps one tenant's values. A value whose `ttl` is over is not there."""

    async def read(self, space: str, keys: Sequence[str], /) -> dict[str, str]:
        """Return the values of those keys that are there."""
        ...

    async def write(self, space: str, values: Mapping[str, str], ttl: timedelta | None, /) -> None:
        """Put values in the place of those that are there."""
        ...

    async def write_if_absent(
        self, space: str, key: str, value: str, ttl: timedelta | None, /
    ) -> bool:
        """Put a value where there is none."""
        ...

    async def swap(
        self, space: str, key: str, expected: str, value: str, ttl: timedelta | None, /
    ) -> bool:
        """Put a value in the place of `expected`."""
        ...

    async def add(self, space: str, key: str, by: int, ttl: timedelta | None, /) -> int:
        """Add to a counter, which begins at 0, and return it; NotANumber."""
        ...

    async def remove(self, space: str, keys: Sequence[str], /) -> int:
        """Delete keys; return how many were there."""
        ...

    async def keys(self, space: str, like: str, limit: int, /) -> list[str]:
        """Return the keys that fit a LIKE pattern, by name, at most `limit`."""
        ...

    async def clear(self, space: str, /) -> int:
        """Delete all of a namespace and of those within it; return how many there were."""
        ...

    async def size(self, space: str, /) -> tuple[int, int]:
        """Return how many entries a namespace has with those within it, and their bytes."""
        ...

    async def trim(self, entries: int, size: int, /) -> None:
        """Delete what is over, and what was written longest ago beyond these bounds."""
        ...


class Stores(Protocol):
    """A server with the stores of many tenants."""

    def store(self, *names: str) -> Store:
        """Return the store that has these names; no other list of as many names has its keys."""
        ...
