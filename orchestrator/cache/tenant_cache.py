"""The cache of one tenant, whatever keeps it: JSON, times to live, bounds, namespaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import msgspec

from orchestrator.cache.names import checked, like, within
from orchestrator.cache.store import Store
from orchestrator.model.values import to_json
from orchestrator.settings.duration import Duration
from orchestrator.settings.model import Limits
from orchestrator.workflow.cache import CacheStats, TimeToLive
from orchestrator.workflow.secret import Revealed, refuse_secrets

VALUE_BYTES = 1024 * 1024
"""The longest value: what is larger costs more to fetch than a cache saves."""

MANY = 1000
"""Keys in one call, and in one answer."""

LONGEST_TTL = timedelta(days=366)

ENTRIES = 10_000
BYTES = 64 * 1024 * 1024
"""What a tenant may keep where its limits say nothing."""

TRIM_AFTER = 200
"""So many values are written between two looks at whether there are too many."""

_INTEGER = 2**63


@dataclass(frozen=True)
class Bounds:
    """How much a tenant may keep: what was written longest ago goes first."""

    entries: int = ENTRIES
    bytes: int = BYTES

    @classmethod
    def of(cls, limits: Limits) -> Bounds:
        """Return what a tenant with these limits may keep."""
        return cls(limits.max_cache_entries or ENTRIES, limits.max_cache_bytes or BYTES)


@dataclass
class Use:
    """How a tenant's cache was used in this process."""

    hits: int = 0
    misses: int = 0
    written: int = 0


@dataclass(frozen=True)
class TenantCache:
    """Implements `ctx.cache`. The bounds are kept but for what is written between two looks.

    >>> cache = TenantCache(store, bounds=Bounds)
    >>> await cache.namespace("rates").set("EUR", 1.08, ttl="5m")
    """

    store: Store
    bounds: Callable[[], Bounds]
    space: str = ""
    use: Use = field(default_factory=Use)
    revealed: Revealed | None = None

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value, or `default`."""
        return (await self.get_many([key])).get(key, default)

    async def set(self, key: str, value: Any, *, ttl: TimeToLive = None) -> None:
        """Store a value."""
        await self.set_many({key: value}, ttl=ttl)

    async def delete(self, key: str) -> bool:
        """Delete a value; tell whether it was there."""
        return await self.delete_many([key]) > 0

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values that are there."""
        wanted = _keys(keys)
        found = await self.store.read(self.space, wanted)
        self.use.hits += len(found)
        self.use.misses += len(wanted) - len(found)
        return {key: msgspec.json.decode(found[key]) for key in wanted if key in found}

    async def set_many(self, values: Mapping[str, Any], *, ttl: TimeToLive = None) -> None:
        """Store values."""
        texts = {key: self._text(values[key]) for key in _keys(values)}
        await self.store.write(self.space, texts, _ttl(ttl))
        await self._wrote(len(texts))

    async def delete_many(self, keys: Iterable[str]) -> int:
        """Delete values; return how many were there."""
        return await self.store.remove(self.space, _keys(keys))

    async def increment(self, key: str, by: int = 1, *, ttl: TimeToLive = None) -> int:
        """Add to a counter and return it; one that is not there begins at 0, and `ttl` with it."""
        given: object = by  # users' code is often not type-checked
        if not isinstance(given, int) or isinstance(given, bool) or not -_INTEGER <= by < _INTEGER:
            raise TypeError(f"a counter is changed by a whole number of 64 bits; got {by!r}")
        count = await self.store.add(self.space, checked(key), by, _ttl(ttl))
        await self._wrote(1)
        return count

    async def decrement(self, key: str, by: int = 1, *, ttl: TimeToLive = None) -> int:
        """Take from a counter and return it."""
        return await self.increment(key, -by, ttl=ttl)

    async def set_if_absent(self, key: str, value: Any, *, ttl: TimeToLive = None) -> bool:
        """Store a value where there is none; tell whether it was stored."""
        text, span = self._text(value), _ttl(ttl)
        stored = await self.store.write_if_absent(self.space, checked(key), text, span)
        await self._wrote(int(stored))
        return stored

    async def compare_and_set(
        self, key: str, expected: Any, value: Any, *, ttl: TimeToLive = None
    ) -> bool:
        """Store a value in the place of one that equals `expected`; tell whether it was stored."""
        old, new, span = self._text(expected), self._text(value), _ttl(ttl)
        stored = await self.store.swap(self.space, checked(key), old, new, span)
        await self._wrote(int(stored))
        return stored

    async def keys(self, pattern: str = "*", *, limit: int = MANY) -> list[str]:
        """Return keys by name that fit a pattern, at most `limit`."""
        if not 0 < limit <= MANY:
            raise ValueError(f"a limit is from 1 to {MANY}; got {limit!r}")
        return await self.store.keys(self.space, like(pattern), limit)

    async def flush(self) -> int:
        """Delete all of this namespace, and of those within it; return how much there was."""
        return await self.store.clear(self.space)

    async def stats(self) -> CacheStats:
        """Return what it holds, and how it was used in this process."""
        entries, size = await self.store.size(self.space)
        return CacheStats(entries=entries, bytes=size, hits=self.use.hits, misses=self.use.misses)

    def namespace(self, name: str) -> TenantCache:
        """Return a namespace within this one."""
        return replace(self, space=within(self.space, name))

    def hiding(self, revealed: Revealed) -> TenantCache:
        """Return the same cache, which stores no secret that an attempt has revealed."""
        return replace(self, revealed=revealed)

    def _text(self, value: Any) -> str:
        """Return a value as it is stored: equal values have equal texts."""
        text = to_json("the value", value, ordered=True)
        refuse_secrets("the value", text, self.revealed)
        if len(text) > VALUE_BYTES:
            raise ValueError(f"the value has {len(text)} bytes, at most {VALUE_BYTES} are kept")
        if b"\\u0000" in text:
            raise ValueError("the value has a NUL character")
        return text.decode()

    async def _wrote(self, count: int) -> None:
        bounds = self.bounds()
        self.use.written += count
        if self.use.written >= min(TRIM_AFTER, max(1, bounds.entries // 10)):
            self.use.written = 0
            await self.store.trim(bounds.entries, bounds.bytes)


def _keys(keys: Iterable[str]) -> list[str]:
    found = list(dict.fromkeys(checked(key) for key in keys))
    if len(found) > MANY:
        raise ValueError(f"at most {MANY} keys at a time; got {len(found)}")
    return found


def _ttl(ttl: TimeToLive) -> timedelta | None:
    if ttl is None:
        return None
    span = Duration.parse(ttl) if isinstance(ttl, str) else ttl
    try:
        span = span if isinstance(span, timedelta) else timedelta(seconds=span)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{ttl!r} is no span of time: give seconds, a text, a timedelta") from None
    if not timedelta() < span <= LONGEST_TTL:
        raise ValueError(f"a value is kept for more than no time and at most {LONGEST_TTL.days} d")
    return span
