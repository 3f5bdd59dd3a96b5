"""When a cron expression fires in a time zone. Pure.

When the clocks change, it behaves as Debian's does (that is cronsim's rule):

- At a set time, so neither minute nor hour begins with `*`: a time that does not exist fires at the
  moment the gap ends (02:30 fires at 03:00; 02:00 and 02:30 are then one fire), and a time that
  comes twice fires the first time only.
- Otherwise every matching minute that really passes fires: `*/15 * * * *` is every 15 minutes of
  real time on every day, and `*/15 2 * * *` never on a day without a two o'clock, twice on one
  with two.

Day of month and day of week: both have to match if one of them begins with `*`, else either.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_FIELDS = ("minute", "hour", "day of month", "month", "day of week")
_CHARACTERS = 500
_SOME_TIME = datetime(2024, 1, 1, tzinfo=UTC)
_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)


def fires(cron: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield the times after `after`, in UTC and strictly ascending; OverflowError at their end.

    >>> next(fires("30 2 * * *", ZoneInfo("Europe/Berlin"), datetime(2026, 3, 28, 12, tzinfo=UTC)))
    datetime.datetime(2026, 3, 29, 1, 0, tzinfo=datetime.timezone.utc)
    """
    minute, hour, *_ = cron.split()
    if minute.startswith("*") or hour.startswith("*"):
        yield from _passing_minutes(cron, zone, after)
        return
    for local in CronSim(cron, after.astimezone(zone)):
        fire = local.astimezone(UTC)
        # In the second of two equal hours cronsim begins with the first one's times.
        if fire > after:
            yield fire


def _passing_minutes(cron: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield the minutes that really pass and whose local time matches.

    cronsim counts real hours from a full one, which goes wrong where the clock changes by half an
    hour. So it reads the local times alone, for as long as one offset from UTC holds.
    """
    moment = after.replace(microsecond=0)
    offset = _offset(zone, moment)
    while True:
        change: datetime | None = None
        for local in CronSim(cron, (moment + offset).replace(tzinfo=None)):
            fire = local.replace(tzinfo=UTC) - offset
            change = _change(zone, offset, moment, fire)
            if change is not None:
                break
            yield fire
            moment = fire
        if change is None:
            return
        # The change itself may fire, under the new offset.
        moment, offset = change - _SECOND, _offset(zone, change)


def _change(zone: ZoneInfo, offset: timedelta, start: datetime, end: datetime) -> datetime | None:
    """Return the first second after `start`, and not after `end`, that `offset` does not hold."""
    same = start
    while same < end:
        other = min(end, same + _DAY)
        if _offset(zone, other) == offset:
            same = other
            continue
        while other - same > _SECOND:
            middle = (same + (other - same) / 2).replace(microsecond=0)
            same, other = (middle, other) if _offset(zone, middle) == offset else (same, middle)
        return other
    return None


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def problems(cron: str, zone: ZoneInfo) -> Iterator[str]:
    """Yield what is wrong with an expression; it fires at least once if nothing is."""
    if len(cron) > _CHARACTERS:
        yield f"cron has at most {_CHARACTERS} characters"
    elif len(cron.split()) != len(_FIELDS):
        yield f"cron {cron!r} must have five fields: {', '.join(_FIELDS)}"
    else:
        try:
            CronSim(cron, _SOME_TIME)
        except CronSimError as error:
            yield f"cron {cron!r} has a {str(error).lower()}"
            return
        if next(fires(cron, zone, _SOME_TIME), None) is None:
            yield f"cron {cron!r} names a day that never comes"
