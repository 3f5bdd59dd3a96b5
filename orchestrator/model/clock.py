"""Time, passed in: the real clock and the one that tests move by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
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


def until_next(period: float, now: float) -> float:
    """Return the seconds from `now` (monotonic) to the whole multiple of `period` about one away.

    Loops that rest until then wake the process together: an idle one spends most of its time on
    waking up. Whoever comes a little early or late is on time again at the next one.

    >>> until_next(0.25, 10.0), until_next(0.25, 9.9375), until_next(0.25, 10.0625)
    (0.25, 0.3125, 0.1875)
    """
    return 1.5 * period - (now + period / 2) % period


class AnchoredClock:
    """The database's time of day, carried forward by this machine's monotonic clock.

    Answers of the database that tell its time anchor it again, so a wrong wall clock here changes
    nothing, and neither does a machine that slept.
    """

    def __init__(self, anchor: datetime, clock: Clock) -> None:
        self._clock = clock
        self._anchor = anchor
        self._since = clock.monotonic()
        self.on_step: Callable[[], None] = lambda: None

    def anchor(self, moment: datetime, *, asked: float) -> None:
        """Take `moment` as what the database's clock showed between `asked` (monotonic) and now.

        What agrees with that stays as it is, and any other time moves as little as it has to: an
        answer that was slow, or read late, tells little and moves nothing. `on_step` is called
        when time has moved ahead, so that nobody sleeps on for it.
        """
        before = self.now()
        latest = moment + timedelta(seconds=self._clock.monotonic() - asked)
        present = min(max(before, moment), latest)
        if present == before:
            return
        self._anchor, self._since = present, self._clock.monotonic()
        if present > before:
            self.on_step()

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
