"""What a task may do with its tenant's cache: `ctx.cache`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Protocol

import msgspec

from orchestrator.model.errors import InsulaError
from orchestrator.workflow.secret import Revealed

TimeToLive = str | float | timedelta | None
"""How long a value is kept: "5m", seconds or a timedelta; None until there is no room for it."""


class NoCache(InsulaError):
    """The context was made without a cache."""

    code = "no_cache"


class NotANumber(ValueError):
    """What stands under the key is no whole number of 64 bits, or would be none."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the value of {key!r} is no whole number that can be added to")


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a namespace holds, with those within it.

    `hits` and `misses` are those of the tenant's whole cache in this process.
    """

    entries: int
    bytes: int
    hits: int
    misses: int


class Cache(Protocol):
    """JSON values of one tenant by key, for a while. What is in it may be gone at any time."""

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value, or `default`."""
        ...

    async def set(self, key: str, value: Any, *, ttl: TimeToLive = None) -> None:
        """Store a value."""
        ...

    async def delete(self, key: str) -> bool:
        """Delete a value; tell whether it was there."""
        ...

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values that are there."""
        ...

    async def set_many(self, values: Mapping[str, Any], *, ttl: TimeToLive = None) -> None:
        """Store values."""
        ...

    async def delete_many(self, keys: Iterable[str]) -> int:
        """Delete values; return how many were there."""
        ...

    async def increment(self, key: str, by: int = 1, *, ttl: TimeToLive = None) -> int:
        """Add to a counter and return it; one that is not there begins at 0, and `ttl` with it."""
        ...

    async def decrement(self, key: str, by: int = 1, *, ttl: TimeToLive = None) -> int:
        """Take from a counter and return it."""
        ...

    async def set_if_absent(self, key: str, value: Any, *, ttl: TimeToLive = None) -> bool:
        """Store a value where there is none; tell whether it was stored."""
        ...

    async def compare_and_set(
        self, key: str, expected: Any, value: Any, *, ttl: TimeToLive = None
    ) -> bool:
        """Store a value in the place of one that equals `expected`; tell whether it was stored."""
        ...

    async def keys(self, pattern: str = "*", *, limit: int = 1000) -> list[str]:
        r"""Return keys by name: `*` fits any text, `?` one character, `\*` a star alone."""
        ...

    async def flush(self) -> int:
        """Delete all of this namespace, and of those within it; return how much there was."""
        ...

    async def stats(self) -> CacheStats:
        """Return what it holds, and how it was used in this process."""
        ...

    def namespace(self, name: str) -> Cache:
        """Return a namespace within this one: its keys are apart from all others."""
        ...

    def hiding(self, revealed: Revealed) -> Cache:
        """Return the same cache, which stores no secret that an attempt has revealed."""
        ...
