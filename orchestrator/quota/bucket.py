"""A rate as a token bucket. Pure: the time is passed in."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from orchestrator.settings.model import Limits

MINUTE = timedelta(minutes=1)


class Rate(msgspec.Struct, frozen=True):
    """One thing every `interval`, and `burst` of them at once after a rest."""

    interval: timedelta
    burst: int

    @property
    def span(self) -> timedelta:
        """How long an empty bucket takes to be full."""
        return self.interval * self.burst


def rate_of(limits: Limits) -> Rate | None:
    """Return the rate that `limits` allow, if they limit it.

    >>> rate_of(Limits(rate=60, rate_burst=5))
    Rate(interval=datetime.timedelta(seconds=1), burst=5)
    """
    if limits.rate is None:
        return None
    return Rate(MINUTE / limits.rate, limits.rate_burst or limits.rate)


class Bucket:
    """What is left of a rate, kept as the time at which all of it is back.

    So a rate may change at any time, and a bucket that nobody asks costs nothing.
    """

    __slots__ = ("_full_at",)

    def __init__(self) -> None:
        self._full_at: datetime | None = None

    def wait(self, rate: Rate, now: datetime, place: int = 1) -> timedelta:
        """Return how long until the thing in that `place`, from 1 on, has its token."""
        taken = self._full(now) + rate.interval * place - now
        return max(taken - rate.span, timedelta(0))

    def take(self, rate: Rate, now: datetime, count: int) -> None:
        """Take a token for each of `count` things, also such as are not there yet."""
        self._full_at = self._full(now) + rate.interval * count

    def give_back(self, rate: Rate) -> None:
        """Give a token back that was not needed after all."""
        if self._full_at is not None:
            self._full_at -= rate.interval

    def fill_at(self, moment: datetime) -> None:
        """Be full at that moment, and not sooner: others took tokens, too."""
        self._full_at = moment if self._full_at is None else max(self._full_at, moment)

    def _full(self, now: datetime) -> datetime:
        return now if self._full_at is None else max(self._full_at, now)
