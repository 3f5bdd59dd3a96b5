"""Time, passed in: the real clock and the one that tests move by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What a decision may know of time."""

    def now(self) -> datetime:
        """Return the time of day, with time zone UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never run backwards; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time of day, with time zone UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since some fixed moment."""
        return time.monotonic()


class AnchoredClock:
    """The database's time of day, carried forward by this machine's monotonic clock.

    Every answer of the database re-anchors it, so a wrong wall clock here changes nothing.
    """

    def __init__(self, anchor: datetime, clock: Clock) -> None:
        self._clock = clock
        self._anchor = anchor
        self._since = clock.monotonic()

    def anchor(self, moment: datetime) -> None:
        """Take `moment`, just read from the database, as the present."""
        self._anchor = moment
        self._since = self._clock.monotonic()

    def now(self) -> datetime:
        """Return the database's time of day, with time zone UTC."""
        return self._anchor + timedelta(seconds=self._clock.monotonic() - self._since)

    def monotonic(self) -> float:
        """Return this machine's monotonic seconds."""
        return self._clock.monotonic()


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0

    def advance(self, seconds: float) -> None:
        """Move time forward by `seconds`; it can not go back."""
        if seconds < 0:
            raise ValueError("time only moves forward")
        self._elapsed += seconds

    def now(self) -> datetime:
        """Return the time of day, with time zone UTC."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return the seconds moved so far."""
        return self._elapsed
