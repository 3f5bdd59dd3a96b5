"""When a schedule fires, and what becomes of a fire while an earlier one still runs. Pure.

A schedule is a cron expression in a time zone, an interval from an anchor, or one moment. A fire is
known by its nominal time, in UTC; the jitter moves the start of the run and never that name, so
that one row for each (schedule, nominal time) is enough to lose none and to double none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import islice, takewhile
from typing import Any, Literal, TypeAlias, assert_never, get_args
from zoneinfo import ZoneInfo

import msgspec

from orchestrator.model.errors import DefinitionError
from orchestrator.settings import cron
from orchestrator.settings.duration import Duration

Overlap: TypeAlias = Literal["allow", "skip", "queue"]
CatchUp: TypeAlias = Literal["skip", "one", "all"]

MOST_FIRES = 100
"""`due` never returns more at a time, whatever was missed."""

MOST_COUNTED = 10_000
"""Fires passed over are counted so far; beyond, their number is a lower bound."""

Problem: TypeAlias = tuple[str, str]
"""The key that is wrong, '' for all of them together, and the sentence."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SOME_TIME = datetime(2024, 1, 1, tzinfo=UTC)
_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)
_SPANS = {
    "every": (_SECOND, 3660 * _DAY),
    "jitter": (timedelta(), 366 * _DAY),
    "grace": (timedelta(), 366 * _DAY),
}
_YEARS = range(1970, 9000)
_NAME_CHARACTERS = 200
_LOOK_BACK = tuple(timedelta(hours=h) for h in (1, 24, 24 * 7, 24 * 31, 24 * 366, 24 * 3660))
# Files beside the zones that mean another thing on another machine, or count leap seconds.
_NO_ZONES = ("localtime", "posixrules", "posix/", "right/")


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What starts `workflow` by itself: exactly one of `cron`, `every` and `at`.

    `id` is unique over all tenants ("acme/nightly"): the jitter is drawn from it. `every` counts
    from `anchor`, 1970 in UTC if there is none. A fire later than `grace` was missed, and
    `catch_up` says what becomes of it: nothing, the newest alone, or the newest `catch_up_limit`.
    `overlap` is for a fire while an earlier one still runs. DefinitionError names every problem.

    >>> nightly = Schedule(id="acme/nightly", workflow="report", cron="0 3 * * *")
    >>> next_fire(nightly, datetime(2026, 1, 1, 12, tzinfo=UTC))
    datetime.datetime(2026, 1, 2, 3, 0, tzinfo=datetime.timezone.utc)
    """

    id: str
    workflow: str
    cron: str | None = None
    timezone: str | None = None
    every: Duration | None = None
    anchor: datetime | None = None
    at: datetime | None = None
    jitter: Duration = Duration()
    overlap: Overlap = "skip"
    catch_up: CatchUp = "one"
    catch_up_limit: int = MOST_FIRES
    grace: Duration = Duration(minutes=1)
    paused: bool = False
    input: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if found := list(_problems(self)):
            problems = [sentence for _, sentence in found]
            raise DefinitionError(
                f"schedule {self.id!r}: {'; '.join(problems)}",
                data={"problems": problems, "keys": [key for key, _ in found]},
            )


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What `due` found: the fires to start now, oldest first, and how many are passed over.

    `last` is what to ask with the next time: everything up to it is dealt with.
    """

    fires: tuple[datetime, ...] = ()
    passed_over: int = 0
    last: datetime | None


class Fire(msgspec.Struct, frozen=True):
    """Start a run for the fire of that nominal time."""

    at: datetime


class Skip(msgspec.Struct, frozen=True):
    """Start nothing, for good."""

    reason: str


class Hold(msgspec.Struct, frozen=True):
    """Start nothing yet: decide again when the earlier fire has ended."""


Decision: TypeAlias = Fire | Skip | Hold


def next_fire(schedule: Schedule, after: datetime) -> datetime | None:
    """Return the first nominal time after `after`, in UTC; None when there is none, or paused.

    A run starts at `starts_at` of it.
    """
    return None if schedule.paused else next(_fires(schedule, _utc(after)), None)


def starts_at(schedule: Schedule, fire: datetime) -> datetime:
    """Return when the run of `fire` starts: up to `jitter` later, the same on every node.

    Always before the next fire, so that starts come in the order of their fires.

    >>> starts_at(Schedule(id="a/b", workflow="w", every=Duration(hours=1)), _SOME_TIME)
    datetime.datetime(2024, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)
    """
    fire = _utc(fire)
    if not schedule.jitter:
        return fire
    following = next(_fires(schedule, fire), None)
    window: timedelta = schedule.jitter
    if following is not None:
        window = min(window, following - fire)
    drawn = blake2b(f"{schedule.id}\n{fire.isoformat()}".encode(), digest_size=8).digest()
    microseconds = (window // timedelta(microseconds=1)) * int.from_bytes(drawn) >> 64
    return fire + timedelta(microseconds=microseconds)


def due(schedule: Schedule, last: datetime | None, now: datetime) -> Due:
    """Return the fires after `last` whose start has come by `now`, as `catch_up` allows.

    `last` is the `last` of the answer before. Without one, the schedule is new: only what comes
    after `now` will fire, and of a single moment (`at`) that is over, what `catch_up` says. Whoever
    changes or resumes a schedule gives it a `last` of that time, lest the new times before it
    count as missed. While it is paused, fires are passed over.
    """
    now = _utc(now)
    if last is None and schedule.at is None:
        return Due(last=now)
    since = _utc(last) if last else _utc(schedule.at or now) - timedelta(microseconds=1)
    found, older = _newest(schedule, since, now)
    if found and starts_at(schedule, found[-1]) > now:
        found.pop()  # nominally past, but its jitter is not over
    if not found:
        return Due(last=last)
    kept = () if schedule.paused else _kept(schedule, found, now)
    return Due(fires=kept, passed_over=older + len(found) - len(kept), last=found[-1])


def decide(schedule: Schedule, fire: datetime, active: int) -> Decision:
    """Return what to do with a due fire while `active` others of this schedule have not ended.

    `active` counts runs under way and fires on hold; of the latter, `queue` keeps one.
    """
    if schedule.paused:
        return Skip("the schedule is paused")
    if not active:
        return Fire(_utc(fire))
    match schedule.overlap:
        case "allow":
            return Fire(_utc(fire))
        case "skip":
            return Skip("an earlier run has not ended")
        case "queue" if active == 1:
            return Hold()
        case "queue":
            return Skip("an earlier run has not ended, and a fire waits for it already")
        case _:
            assert_never(schedule.overlap)


def _newest(schedule: Schedule, since: datetime, now: datetime) -> tuple[list[datetime], int]:
    """Return the newest fires of (since, now], oldest first, and how many there are before them.

    After a year of silence, what fired every minute is not gone through from the beginning.
    """
    begin, found = since, []
    for span in _LOOK_BACK:
        begin = max(since, now - span)
        found = list(takewhile(lambda fire: fire <= now, _fires(schedule, begin)))
        if begin == since or len(found) > MOST_FIRES:
            break
    before = takewhile(lambda fire: fire <= begin, _fires(schedule, since))
    # One more than can be returned: the newest may have to wait for its jitter.
    newest = found[-(MOST_FIRES + 1) :]
    return newest, len(found) - len(newest) + sum(1 for _ in islice(before, MOST_COUNTED))


def _kept(schedule: Schedule, found: Sequence[datetime], now: datetime) -> tuple[datetime, ...]:
    late = [fire for fire in found if now - starts_at(schedule, fire) > schedule.grace]
    timely = found[len(late) :]
    match schedule.catch_up:
        case "skip":
            late = []
        case "one":
            late = late[-1:]
        case "all":
            late = late[-schedule.catch_up_limit :]
        case _:
            assert_never(schedule.catch_up)
    return (*late, *timely)[-MOST_FIRES:]


def _fires(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Yield all nominal times after `after`, in UTC and strictly ascending."""
    try:
        if schedule.cron is not None:
            yield from cron.fires(schedule.cron, ZoneInfo(schedule.timezone or "UTC"), after)
        elif schedule.every is not None:
            yield from _interval_fires(schedule.every, _utc(schedule.anchor or _EPOCH), after)
        elif schedule.at is not None and _utc(schedule.at) > after:
            yield _utc(schedule.at)
    except OverflowError:
        return  # the calendar of datetime ends with the year 9999


def _interval_fires(every: timedelta, anchor: datetime, after: datetime) -> Iterator[datetime]:
    turn = max(0, (after - anchor) // every + 1)
    while True:
        yield anchor + turn * every
        turn += 1


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC)


def _problems(schedule: Schedule) -> Iterator[Problem]:
    for name in ("id", "workflow"):
        text = getattr(schedule, name)
        if not 0 < len(text) <= _NAME_CHARACTERS or "\0" in text:
            yield name, f"{name} has 1 to {_NAME_CHARACTERS} characters and no NUL"
    given = [name for name in ("cron", "every", "at") if getattr(schedule, name) is not None]
    if len(given) != 1:
        which = " and ".join(given) or "none of them"
        yield "", f"give exactly one of cron, every and at, not {which}"
    for name, companion in (("timezone", "cron"), ("anchor", "every")):
        if getattr(schedule, name) is not None and companion not in given:
            yield name, f"{name} goes with {companion} only"
    yield from _choice_problems(schedule)
    yield from _time_problems(schedule)
    zone_problem = _zone_problem(schedule.timezone)
    if zone_problem:
        yield "timezone", zone_problem
    elif schedule.cron is not None:
        zone = ZoneInfo(schedule.timezone or "UTC")
        yield from (("cron", problem) for problem in cron.problems(schedule.cron, zone))


def _choice_problems(schedule: Schedule) -> Iterator[Problem]:
    for name, known in (("overlap", get_args(Overlap)), ("catch_up", get_args(CatchUp))):
        if getattr(schedule, name) not in known:
            yield name, f"{name} is one of {', '.join(known)}; got {getattr(schedule, name)!r}"
    if not 1 <= schedule.catch_up_limit <= MOST_FIRES:
        yield (
            "catch_up_limit",
            f"catch_up_limit is from 1 to {MOST_FIRES}; got {schedule.catch_up_limit}",
        )


def _time_problems(schedule: Schedule) -> Iterator[Problem]:
    for name, (least, most) in _SPANS.items():
        span: object = getattr(schedule, name)
        if span is None:
            continue
        if not isinstance(span, timedelta):
            yield name, f'{name} is a Duration, for example Duration.parse("1h"); got {span!r}'
        elif not least <= span <= most:
            yield name, f"{name} is from {least.seconds} s to {most.days} days; got {span}"
    for name in ("anchor", "at"):
        moment: datetime | None = getattr(schedule, name)
        if moment is not None and moment.tzinfo is None:
            yield name, f"{name} needs an offset from UTC, for example {moment.isoformat()}Z"
        elif moment is not None and moment.year not in _YEARS:
            yield (
                name,
                f"{name} is in a year from {_YEARS.start} to {_YEARS.stop - 1}; got {moment}",
            )


def _zone_problem(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        if not name.startswith(_NO_ZONES):
            ZoneInfo(name)
            return None
    except (KeyError, OSError, ValueError):
        pass
    return f"timezone {name!r} is not an IANA time zone, for example Europe/Berlin"
