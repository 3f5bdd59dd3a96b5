"""Limits that are nearly used up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.quota.alerts import Level, levels, nearly_used
from orchestrator.quota.limits import Usage
from orchestrator.quota.window import DAY, HOUR
from orchestrator.settings.model import Limits

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
COUNT = st.integers(1, 10_000)


@given(
    used=st.integers(0, 20_000),
    allowed=COUNT,
    percent=st.integers(1, 100),
    window=st.sampled_from([HOUR, DAY]),
)
def test_a_limit_is_near_from_its_part_on_and_the_window_holds_the_moment(
    used: int, allowed: int, percent: int, window: timedelta
) -> None:
    found = nearly_used([Level("q", used, allowed, window)], percent, NOW)

    assert bool(found) == (used > 0 and Fraction(used, allowed) >= Fraction(percent, 100))
    for each in found:
        assert each.since <= NOW < each.since + window
        assert (each.since - datetime(2026, 1, 1, tzinfo=UTC)) % window == timedelta(0)


@given(moments=st.lists(st.integers(0, 3 * 86_400), min_size=1, max_size=50).map(sorted))
def test_as_time_goes_by_a_window_begins_once(moments: list[int]) -> None:
    level = [Level("q", 1, 1, HOUR)]
    begins = [nearly_used(level, 100, NOW + timedelta(seconds=s))[0].since for s in moments]

    assert begins == sorted(begins)
    assert len(set(begins)) == len(
        {(NOW + timedelta(seconds=s)).replace(minute=0, second=0) for s in moments}
    )


def test_levels_are_of_what_is_limited_and_of_nothing_else() -> None:
    usage = Usage(queued=3)
    limits = Limits(max_runs_per_hour=10, max_queue_length=4, max_concurrent_tasks=1)
    usage.accepted(limits, 8, NOW)

    found = levels(limits, usage, running=2, now=NOW)

    assert found == [Level("max_runs_per_hour", 8, 10, HOUR), Level("max_queue_length", 3, 4, HOUR)]
    assert levels(Limits(), usage, running=2, now=NOW) == []
