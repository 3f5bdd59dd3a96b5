"""When schedules fire, over clock changes too, and what becomes of each fire."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.model.errors import DefinitionError
from orchestrator.settings.duration import Duration, dec_hook
from orchestrator.settings.schedule import (
    MOST_COUNTED,
    MOST_FIRES,
    Decision,
    Due,
    Fire,
    Hold,
    Schedule,
    Skip,
    decide,
    due,
    next_fire,
    starts_at,
)

HOUR = timedelta(hours=1)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def schedule(**fields: Any) -> Schedule:
    """Return a schedule of acme's; hourly when nothing else is asked for."""
    if not {"cron", "every", "at"} & fields.keys():
        fields["every"] = Duration(hours=1)
    return Schedule(**{"id": "acme/report", "workflow": "report", **fields})


def fires(wanted: Schedule, after: datetime, until: datetime) -> list[datetime]:
    """Return all fires in (after, until], one `next_fire` after the other."""
    found: list[datetime] = []
    fire = next_fire(wanted, after)
    while fire is not None and fire <= until:
        found.append(fire)
        fire = next_fire(wanted, fire)
    return found


def local(zone: str, *texts: str) -> list[datetime]:
    """Return moments from local times with their offsets, to read them easily."""
    moments = [datetime.fromisoformat(text) for text in texts]
    for moment in moments:
        there = moment.astimezone(ZoneInfo(zone))
        assert there.utcoffset() == moment.utcoffset(), f"{moment} is not a time of {zone}"
    return moments


def day(zone: str, text: str) -> tuple[datetime, datetime]:
    """Return the last second of the day before a local day, and its own last one."""
    start = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
    end = start.replace(hour=23, minute=59, second=59)
    return (start - timedelta(seconds=1)).astimezone(UTC), end.astimezone(UTC)


CLOCK_CHANGES = [
    # A set time in the gap fires once, when the gap ends.
    (BERLIN, "2026-03-29", "30 2 * * *", ["2026-03-29T03:00+02:00"]),
    (BERLIN, "2026-03-29", "0,30 2 * * *", ["2026-03-29T03:00+02:00"]),
    (BERLIN, "2026-03-29", "0 2,3 * * *", ["2026-03-29T03:00+02:00"]),
    (NEW_YORK, "2026-03-08", "30 2 * * *", ["2026-03-08T03:00-04:00"]),
    (LORD_HOWE, "2026-10-04", "15 2 * * *", ["2026-10-04T02:30+11:00"]),
    (LORD_HOWE, "2026-10-04", "45 2 * * *", ["2026-10-04T02:45+11:00"]),
    # A set time that comes twice fires the first time.
    (BERLIN, "2026-10-25", "30 2 * * *", ["2026-10-25T02:30+02:00"]),
    (NEW_YORK, "2026-11-01", "30 1 * * *", ["2026-11-01T01:30-04:00"]),
    (LORD_HOWE, "2026-04-05", "45 1 * * *", ["2026-04-05T01:45+11:00"]),
    # What fires by the hour or the minute does so in real time.
    (BERLIN, "2026-03-29", "30 */12 * * *", ["2026-03-29T00:30+01:00", "2026-03-29T12:30+02:00"]),
    (BERLIN, "2026-03-29", "*/30 2 * * *", []),
    (
        BERLIN,
        "2026-10-25",
        "*/30 2 * * *",
        [
            "2026-10-25T02:00+02:00",
            "2026-10-25T02:30+02:00",
            "2026-10-25T02:00+01:00",
            "2026-10-25T02:30+01:00",
        ],
    ),
    (LORD_HOWE, "2026-10-04", "*/20 2 * * *", ["2026-10-04T02:40+11:00"]),
    (
        LORD_HOWE,
        "2026-04-05",
        "*/45 1 * * *",
        ["2026-04-05T01:00+11:00", "2026-04-05T01:45+11:00", "2026-04-05T01:45+10:30"],
    ),
]


@pytest.mark.parametrize(("zone", "date", "cron", "expected"), CLOCK_CHANGES)
@pytest.mark.requirement("R10.cron")
def test_cron_keeps_its_rule_when_the_clocks_change(
    zone: str, date: str, cron: str, expected: list[str]
) -> None:
    wanted = schedule(cron=cron, timezone=zone)

    found = fires(wanted, *day(zone, date))

    assert found == local(zone, *expected)


@pytest.mark.parametrize(
    ("zone", "date", "hours"),
    [
        (BERLIN, "2026-03-29", 23),
        (BERLIN, "2026-10-25", 25),
        (NEW_YORK, "2026-03-08", 23),
        (NEW_YORK, "2026-11-01", 25),
        (LORD_HOWE, "2026-10-04", 23.5),
        (LORD_HOWE, "2026-04-05", 24.5),
    ],
)
def test_a_quarter_hourly_schedule_has_no_hole_on_any_day(
    zone: str, date: str, hours: float
) -> None:
    found = fires(schedule(cron="*/15 * * * *", timezone=zone), *day(zone, date))

    assert len(found) == hours * 4
    assert {late - early for early, late in pairwise(found)} == {HOUR / 4}


def test_asked_in_the_second_of_two_equal_hours_a_fire_is_still_ahead() -> None:
    wanted = schedule(cron="30 2 * * *", timezone=BERLIN)
    (second,) = local(BERLIN, "2026-10-25T02:10+01:00")

    assert next_fire(wanted, second) == local(BERLIN, "2026-10-26T02:30+01:00")[0]


def test_a_minute_after_the_half_hour_change_is_not_lost() -> None:
    (after,) = local(LORD_HOWE, "2026-10-04T02:45+11:00")

    fire = next_fire(schedule(cron="* 3 * * *", timezone=LORD_HOWE), after)

    assert fire == local(LORD_HOWE, "2026-10-04T03:00+11:00")[0]


def test_a_leap_day_comes_every_four_years_and_not_in_2100() -> None:
    wanted = schedule(cron="0 0 29 2 *")

    assert next_fire(wanted, NOON) == datetime(2028, 2, 29, tzinfo=UTC)
    assert next_fire(wanted, datetime(2096, 3, 1, tzinfo=UTC)) == datetime(2104, 2, 29, tzinfo=UTC)


@pytest.mark.requirement("R10.interval")
def test_an_interval_counts_from_its_anchor_and_not_before() -> None:
    anchor = datetime(2026, 1, 1, 12, 7, tzinfo=UTC)
    wanted = schedule(every=Duration(minutes=90), anchor=anchor)

    assert fires(wanted, NOON - 5 * HOUR, NOON + 3 * HOUR) == [anchor, anchor + 1.5 * HOUR]
    assert next_fire(schedule(every=Duration(days=1)), NOON) == datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.requirement("R10.one-off")
def test_one_moment_fires_once() -> None:
    wanted = schedule(at=datetime.fromisoformat("2026-01-01T13:00+01:00"))

    assert next_fire(wanted, NOON - HOUR) == NOON
    assert next_fire(wanted, NOON) is None


def test_the_end_of_the_calendar_is_the_end_of_a_schedule() -> None:
    end = datetime.max.replace(tzinfo=UTC)

    assert next_fire(schedule(), end) is None
    assert next_fire(schedule(cron="0 0 1 1 *"), end) is None


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        next_fire(schedule(), NOON.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"every": None}, "give exactly one of cron, every and at, not none of them"),
        ({"cron": "0 3 * * *", "at": NOON}, "not cron and at"),
        ({"cron": "61 3 * * *"}, "cron '61 3 * * *' has a bad minute"),
        ({"cron": "0 3 * * FRY"}, "bad day-of-week"),
        ({"cron": "0 3 * *"}, "must have five fields: minute, hour,"),
        ({"cron": "0 0 3 * * *"}, "must have five fields"),
        ({"cron": "@daily"}, "must have five fields"),
        ({"cron": ""}, "must have five fields"),
        ({"cron": "0 0 31 2 *"}, "bad day-of-month"),
        ({"cron": "0 0 */20 * 1L"}, "names a day that never comes"),
        ({"cron": "0" * 600}, "at most 500 characters"),
        ({"cron": "0 3 * * *", "timezone": "Europe/Atlantis"}, "'Europe/Atlantis' is not an IANA"),
        ({"cron": "0 3 * * *", "timezone": "../etc/passwd"}, "is not an IANA time zone"),
        ({"cron": "0 3 * * *", "timezone": "Europe"}, "is not an IANA time zone"),
        ({"cron": "0 3 * * *", "timezone": "localtime"}, "is not an IANA time zone"),
        ({"cron": "0 3 * * *", "timezone": ""}, "is not an IANA time zone"),
        ({"timezone": BERLIN}, "timezone goes with cron only"),
        ({"at": NOON, "anchor": NOON}, "anchor goes with every only"),
        ({"every": Duration()}, "every is from 1 s to 3660 days; got 0s"),
        ({"every": "1h"}, "every is a Duration"),
        ({"jitter": Duration(days=-1)}, "jitter is from 0 s"),
        ({"at": NOON.replace(tzinfo=None)}, "at needs an offset from UTC"),
        ({"at": NOON.replace(year=9999)}, "at is in a year from 1970 to 8999"),
        ({"overlap": "cancel"}, "overlap is one of allow, skip, queue; got 'cancel'"),
        ({"catch_up": "some"}, "catch_up is one of skip, one, all"),
        ({"catch_up_limit": 101}, "catch_up_limit is from 1 to 100"),
        ({"id": ""}, "id has 1 to 200 characters"),
        ({"workflow": "a\0b"}, "workflow has 1 to 200 characters and no NUL"),
    ],
)
def test_a_wrong_schedule_is_refused_with_a_sentence(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        schedule(**fields)

    assert sentence in str(caught.value)
    assert str(caught.value).startswith(f"schedule {fields.get('id', 'acme/report')!r}: ")


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        schedule(cron="x", timezone="y", overlap="z", catch_up_limit=0)

    assert len(caught.value.data["problems"]) == 3


def test_a_schedule_can_be_read_from_json() -> None:
    text = (
        b'{"id": "a/b", "workflow": "w", "every": "1h30m", "jitter": "5m", "input": {"month": 1}}'
    )

    read = msgspec.json.decode(text, type=Schedule, dec_hook=dec_hook)

    assert (read.every, read.jitter, read.input) == (1.5 * HOUR, HOUR / 12, {"month": 1})


@settings(max_examples=300)
@given(st.text(max_size=30) | st.text("0123456789*/,-L#W MON", max_size=30))
def test_no_text_breaks_the_reading_of_cron(text: str) -> None:
    with suppress(DefinitionError):
        assert next_fire(schedule(cron=text), NOON) is not None


FIVE = [NOON - timedelta(minutes=m) for m in (20, 15, 10, 5, 0)]


@pytest.mark.parametrize(
    ("catch_up", "limit", "expected", "passed_over"),
    [
        ("skip", 100, FIVE[4:], 4),
        ("one", 100, FIVE[3:], 3),
        ("all", 100, FIVE, 0),
        ("all", 2, FIVE[2:], 2),
    ],
)
def test_what_was_missed_is_caught_up_as_asked(
    catch_up: str, limit: int, expected: list[datetime], passed_over: int
) -> None:
    wanted = schedule(every=Duration(minutes=5), catch_up=catch_up, catch_up_limit=limit)

    found = due(wanted, NOON - timedelta(minutes=25), NOON + timedelta(seconds=30))

    assert found == Due(fires=tuple(expected), passed_over=passed_over, last=NOON)


def test_a_fire_within_its_grace_is_not_missed() -> None:
    wanted = schedule(catch_up="skip", grace=Duration(minutes=10))

    assert due(wanted, NOON - HOUR, NOON + HOUR / 6).fires == (NOON,)
    assert due(wanted, NOON - HOUR, NOON + HOUR / 5).fires == ()


@pytest.mark.parametrize("spell", [{"every": Duration(seconds=1)}, {"cron": "* * * * *"}])
@pytest.mark.requirement("R10.catch-up")
def test_years_of_silence_end_with_a_bounded_answer(spell: dict[str, Any]) -> None:
    wanted = schedule(catch_up="all", **spell)

    found = due(wanted, NOON - timedelta(days=3000), NOON)

    assert len(found.fires) == MOST_FIRES
    assert found.fires[-1] == found.last == NOON
    assert found.passed_over >= MOST_COUNTED


def test_a_new_schedule_catches_up_on_nothing() -> None:
    first = due(schedule(catch_up="all"), None, NOON + HOUR / 2)

    assert first == Due(last=NOON + HOUR / 2)
    assert due(schedule(), first.last, NOON + HOUR).fires == (NOON + HOUR,)


def test_a_new_schedule_for_one_moment_waits_for_it_and_catches_up_on_it() -> None:
    early, late = NOON - HOUR, NOON + HOUR

    assert due(schedule(at=NOON), None, early) == Due(last=None)
    assert due(schedule(at=NOON), None, NOON) == Due(fires=(NOON,), last=NOON)
    assert due(schedule(at=NOON), None, late) == Due(fires=(NOON,), last=NOON)
    assert due(schedule(at=NOON, catch_up="skip"), None, late) == Due(passed_over=1, last=NOON)
    assert due(schedule(at=NOON), NOON, late) == Due(last=NOON)


def test_a_clock_that_steps_back_fires_nothing_twice() -> None:
    assert due(schedule(), NOON, NOON - 5 * HOUR) == Due(last=NOON)


def test_a_paused_schedule_passes_its_fires_over() -> None:
    paused = schedule(paused=True, catch_up="all")

    assert next_fire(paused, NOON) is None
    assert due(paused, NOON, NOON + 3 * HOUR) == Due(passed_over=3, last=NOON + 3 * HOUR)


HELD = "an earlier run has not ended, and a fire waits for it already"


@pytest.mark.parametrize(
    ("overlap", "active", "decision"),
    [
        ("allow", 0, Fire(NOON)),
        ("allow", 7, Fire(NOON)),
        ("skip", 0, Fire(NOON)),
        ("skip", 1, Skip("an earlier run has not ended")),
        ("queue", 0, Fire(NOON)),
        ("queue", 1, Hold()),
        ("queue", 2, Skip(HELD)),
        ("queue", 9, Skip(HELD)),
    ],
)
def test_a_fire_during_an_earlier_run_is_decided_by_the_overlap(
    overlap: str, active: int, decision: Decision
) -> None:
    assert decide(schedule(overlap=overlap), NOON, active) == decision


def test_a_schedule_paused_after_its_fire_was_due_does_not_fire() -> None:
    assert decide(schedule(paused=True), NOON, 0) == Skip("the schedule is paused")


def test_jitter_is_drawn_from_the_schedule_and_the_fire_alone() -> None:
    mine = schedule(jitter=Duration(minutes=10))
    again = schedule(jitter=Duration(minutes=10), workflow="other")
    other = schedule(jitter=Duration(minutes=10), id="globex/report")
    berlin = NOON.astimezone(ZoneInfo(BERLIN))

    assert starts_at(mine, NOON) == starts_at(again, NOON) == starts_at(mine, berlin)
    assert len({starts_at(mine, NOON), starts_at(other, NOON)}) == 2
    assert starts_at(mine, NOON + HOUR) - HOUR != starts_at(mine, NOON)


def test_jitter_spreads_evenly_over_many_tenants() -> None:
    delays = [
        starts_at(schedule(id=f"t{n}/nightly", jitter=Duration(minutes=10)), NOON) - NOON
        for n in range(1000)
    ]

    minutes = [delay // timedelta(minutes=1) for delay in delays]
    assert set(minutes) == set(range(10))
    assert all(60 < minutes.count(minute) < 140 for minute in range(10))


def test_a_fire_is_not_due_before_its_jitter_is_over() -> None:
    wanted = schedule(jitter=Duration(minutes=10))
    start = starts_at(wanted, NOON)
    before = start - timedelta(microseconds=1)

    assert due(wanted, NOON - HOUR, before) == Due(last=NOON - HOUR)
    assert due(wanted, NOON - HOUR, start) == Due(fires=(NOON,), last=NOON)


ZONES = st.sampled_from(
    ["UTC", BERLIN, NEW_YORK, LORD_HOWE, "Asia/Kathmandu", "Africa/Casablanca", "America/St_Johns"]
)
MINUTES = st.sampled_from(["*", "*/7", "*/15", "0", "30", "0,45", "5-10", "59"])
HOURS = st.sampled_from(["*", "*/2", "0", "1", "2", "3", "1-3", "2,14", "0-23"])
DAYS = st.sampled_from(["* * *", "1 * *", "* * SUN", "L * *", "* 3,4,10,11 *", "29 2 *"])
CRONS = st.builds("{} {} {}".format, MINUTES, HOURS, DAYS)
# The hours around clock changes, beside any others.
MOMENTS = st.one_of(
    st.integers(0, 10**7).map(lambda minutes: NOON + timedelta(minutes=minutes)),
    st.builds(
        lambda date, minutes: datetime.fromisoformat(date) + timedelta(minutes=minutes),
        st.sampled_from(
            ["2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-04", "2026-10-03"]
        ),
        st.integers(-24 * 60, 48 * 60),
    ),
).map(lambda moment: moment.replace(tzinfo=UTC))
JITTERS = st.integers(0, 100_000).map(lambda seconds: Duration(seconds=seconds))
SCHEDULES = st.one_of(
    st.builds(schedule, cron=CRONS, timezone=ZONES, jitter=JITTERS),
    st.builds(
        schedule,
        every=st.integers(1, 10**6).map(lambda seconds: Duration(seconds=seconds)),
        jitter=JITTERS,
    ),
    st.builds(schedule, at=MOMENTS, jitter=JITTERS),
)
THOROUGHLY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@THOROUGHLY
@given(SCHEDULES, MOMENTS)
def test_fires_strictly_ascend_and_their_starts_too(wanted: Schedule, after: datetime) -> None:
    moment = after
    start = after
    for _ in range(5):
        fire = next_fire(wanted, moment)
        if fire is None:
            return
        assert fire > moment
        assert fire <= starts_at(wanted, fire)
        assert starts_at(wanted, fire) - fire <= wanted.jitter
        assert starts_at(wanted, fire) > start
        moment, start = fire, starts_at(wanted, fire)


@THOROUGHLY
@given(SCHEDULES, MOMENTS, st.integers(1, 10**6))
def test_where_one_asks_from_does_not_change_the_next_fire(
    wanted: Schedule, after: datetime, seconds: int
) -> None:
    fire = next_fire(wanted, after)
    between = after + timedelta(seconds=seconds)

    if fire is not None and between < fire:
        assert next_fire(wanted, between) == fire


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 59), st.sampled_from(["*", "1", "2", "1-3"]), ZONES, MOMENTS)
def test_each_minute_fires_whose_local_time_matches(
    step: int, hour: str, zone: str, after: datetime
) -> None:
    hours = {"*": range(24), "1": [1], "2": [2], "1-3": [1, 2, 3]}[hour]
    minutes = [after.replace(second=0) + timedelta(minutes=n) for n in range(1, 36 * 60)]
    there = [(minute, minute.astimezone(ZoneInfo(zone))) for minute in minutes]

    found = fires(schedule(cron=f"*/{step} {hour} * * *", timezone=zone), after, minutes[-1])

    assert found == [utc for utc, at in there if at.minute % step == 0 and at.hour in hours]


@THOROUGHLY
@given(
    SCHEDULES,
    MOMENTS,
    st.lists(st.integers(0, 3 * 3600), max_size=30),
    st.sampled_from(["skip", "one", "all"]),
)
@pytest.mark.requirement("R10.once")
def test_whenever_one_polls_no_fire_is_lost_or_doubled(
    wanted: Schedule, begin: datetime, pauses: Sequence[int], catch_up: str
) -> None:
    wanted = msgspec.structs.replace(wanted, catch_up=catch_up)
    now: datetime = begin
    last: datetime | None = begin
    fired: list[datetime] = []
    passed_over = 0
    for pause in pauses:
        now += timedelta(seconds=pause)
        found = due(wanted, last, now)
        fired += found.fires
        passed_over += found.passed_over
        last = found.last

    expected = [fire for fire in all_fires(wanted, begin, now) if starts_at(wanted, fire) <= now]
    assert fired == sorted(set(fired))
    assert set(fired) <= set(expected)
    assert len(fired) + passed_over == len(expected)
    timely = timedelta(seconds=max(pauses, default=0)) <= wanted.grace
    if len(expected) <= MOST_FIRES and (catch_up == "all" or timely):
        assert fired == expected


def all_fires(wanted: Schedule, after: datetime, until: datetime) -> list[datetime]:
    """Return all fires in (after, until] in steps that do not depend on where one asks from."""
    if wanted.every is not None:
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        turns = range((after - epoch) // wanted.every + 1, (until - epoch) // wanted.every + 1)
        return [epoch + turn * wanted.every for turn in turns]
    return fires(wanted, after, until)
