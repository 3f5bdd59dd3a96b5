"""A store in this process's memory: what users' tests get as `ctx.cache`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.cache.names import fits
from orchestrator.workflow.cache import NotANumber

_DIGITS = re.compile(r"-?\d{1,19}")


@dataclass(frozen=True)
class Entry:
    """A value and until when it is there."""

    value: str
    expires_at: datetime | None


class MemoryStore:
    """Keeps values by namespace and key in the order in which they were written."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._entries: dict[tuple[str, str], Entry] = {}

    async def read(self, space: str, keys: Sequence[str], /) -> dict[str, str]:
        """Return the values of those keys that are there."""
        found = ((key, self._live(space, key)) for key in keys)
        return {key: entry.value for key, entry in found if entry is not None}

    async def write(self, space: str, values: Mapping[str, str], ttl: timedelta | None, /) -> None:
        """Put values in the place of those that are there."""
        for key, value in values.items():
            self._put(space, key, value, self._until(ttl))

    async def write_if_absent(
        self, space: str, key: str, value: str, ttl: timedelta | None, /
    ) -> bool:
        """Put a value where there is none."""
        if self._live(space, key) is not None:
            return False
        self._put(space, key, value, self._until(ttl))
        return True

    async def swap(
        self, space: str, key: str, expected: str, value: str, ttl: timedelta | None, /
    ) -> bool:
        """Put a value in the place of `expected`."""
        entry = self._live(space, key)
        if entry is None or entry.value != expected:
            return False
        self._put(space, key, value, self._until(ttl))
        return True

    async def add(self, space: str, key: str, by: int, ttl: timedelta | None, /) -> int:
        """Add to a counter, which begins at 0, and return it; NotANumber."""
        entry = self._live(space, key)
        if entry is not None and not _DIGITS.fullmatch(entry.value):
            raise NotANumber(key)
        count = by + (0 if entry is None else int(entry.value))
        if not -(2**63) <= count < 2**63:
            raise NotANumber(key)
        self._put(space, key, str(count), self._until(ttl) if entry is None else entry.expires_at)
        return count

    async def remove(self, space: str, keys: Sequence[str], /) -> int:
        """Delete keys; return how many were there."""
        there = [key for key in keys if self._live(space, key) is not None]
        for key in keys:
            self._entries.pop((space, key), None)
        return len(there)

    async def keys(self, space: str, like: str, limit: int, /) -> list[str]:
        """Return the keys that fit a LIKE pattern, by name, at most `limit`."""
        found = [key for of, key in self._entries if of == space and fits(like, key)]
        return sorted(key for key in found if self._live(space, key) is not None)[:limit]

    async def clear(self, space: str, /) -> int:
        """Delete all of a namespace and of those within it; return how many there were."""
        inside = [each for each in self._entries if each[0].startswith(space)]
        there = [each for each in inside if self._live(*each) is not None]
        for each in inside:
            del self._entries[each]
        return len(there)

    async def size(self, space: str, /) -> tuple[int, int]:
        """Return how many entries a namespace has with those within it, and their bytes."""
        inside = [each for each in self._entries if each[0].startswith(space)]
        there = [each for each in inside if self._live(*each) is not None]
        return len(there), sum(self._bytes(each) for each in there)

    async def trim(self, entries: int, size: int, /) -> None:
        """Delete what is over, and what was written longest ago beyond these bounds."""
        number = total = 0
        for each in reversed(list(self._entries)):
            number, total = number + 1, total + self._bytes(each)
            if number > entries or total > size or self._live(*each) is None:
                del self._entries[each]

    def _live(self, space: str, key: str) -> Entry | None:
        entry = self._entries.get((space, key))
        over = entry is None or (entry.expires_at is not None and entry.expires_at <= self._now())
        return None if over else entry

    def _put(self, space: str, key: str, value: str, expires_at: datetime | None) -> None:
        self._entries.pop((space, key), None)  # what is written anew is the newest
        self._entries[space, key] = Entry(value, expires_at)

    def _until(self, ttl: timedelta | None) -> datetime | None:
        return None if ttl is None else self._now() + ttl

    def _bytes(self, place: tuple[str, str]) -> int:
        return len(place[1].encode()) + len(self._entries[place].value.encode())
