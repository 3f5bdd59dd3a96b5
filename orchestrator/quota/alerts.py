"""Which limits are nearly used up, and in which window. Pure: the time is passed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from orchestrator.model.usage import Near
from orchestrator.quota.limits import Usage
from orchestrator.quota.window import DAY, HOUR
from orchestrator.settings.model import Limits

WINDOWS = {
    "max_runs_per_hour": HOUR,
    "max_runs_per_day": DAY,
    "max_queue_length": HOUR,
    "max_concurrent_runs": HOUR,
}
"""The limits that warn, and how long one warning of each is enough."""

OF_ALL = frozenset({"max_runs_per_hour", "max_runs_per_day"})
"""Those to which runs count that others have added, from SQL or on another node."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Level(msgspec.Struct, frozen=True):
    """How much of a limit is used; `window` is how long one warning of it is enough."""

    quota: str
    used: int
    allowed: int
    window: timedelta


def levels(limits: Limits, usage: Usage, *, running: int, now: datetime) -> list[Level]:
    """Return how much of each of the limits is used that warn; none for what is not limited.

    The others have no part of which one could be near the end: a run is in an allowed queue or it
    is not, and that all task slots are taken is the ordinary state of a busy tenant.
    """
    known = (
        ("max_runs_per_hour", limits.max_runs_per_hour, usage.hour.count),
        ("max_runs_per_day", limits.max_runs_per_day, usage.day.count),
        ("max_queue_length", limits.max_queue_length, lambda _: usage.queued),
        ("max_concurrent_runs", limits.max_concurrent_runs, lambda _: running),
    )
    return [
        Level(quota, used(now), allowed, WINDOWS[quota])
        for quota, allowed, used in known
        if allowed is not None
    ]


def raised(found: Iterable[Level], counted: Mapping[str, int]) -> list[Level]:
    """Return the levels with what others have `counted` of them, where that is more.

    >>> raised([Level("max_runs_per_hour", 3, 10, HOUR)], {"max_runs_per_hour": 8})[0].used
    8
    """
    return [
        msgspec.structs.replace(each, used=max(each.used, counted.get(each.quota, 0)))
        for each in found
    ]


def nearly_used(found: Iterable[Level], percent: int, now: datetime) -> list[Near]:
    """Return the limits of which `percent` or more is used, each with its window of UTC.

    >>> level = Level("max_runs_per_hour", 80, 100, HOUR)
    >>> [near.since.isoformat() for near in nearly_used([level], 80, _EPOCH + HOUR * 1.5)]
    ['1970-01-01T01:00:00+00:00']
    """
    return [
        Near(each.quota, now - (now - _EPOCH) % each.window, each.used, each.allowed)
        for each in found
        if each.used and each.used * 100 >= percent * each.allowed
    ]
