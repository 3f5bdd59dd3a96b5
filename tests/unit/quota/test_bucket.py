"""A rate lets through what it allows, and what has rested at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.quota.bucket import Bucket, Rate, rate_of
from orchestrator.settings.model import Limits

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_a_rate_is_so_many_a_minute_and_all_of_them_at_once_unless_a_burst_is_set() -> None:
    assert rate_of(Limits()) is None
    assert rate_of(Limits(rate=30)) == Rate(2 * SECOND, burst=30)
    assert rate_of(Limits(rate=30, rate_burst=4)) == Rate(2 * SECOND, burst=4)


def test_what_has_rested_goes_at_once_and_then_one_after_the_other() -> None:
    bucket, rate = Bucket(), Rate(SECOND, burst=2)
    assert [bucket.wait(rate, NOW, place) for place in (1, 2, 3, 4)] == [
        0 * SECOND,
        0 * SECOND,
        SECOND,
        2 * SECOND,
    ]
    bucket.take(rate, NOW, 2)
    assert bucket.wait(rate, NOW) == SECOND
    assert bucket.wait(rate, NOW + SECOND) == 0 * SECOND
    assert bucket.wait(rate, NOW + 9 * SECOND, 3) == SECOND
    bucket.give_back(rate)
    assert bucket.wait(rate, NOW) == 0 * SECOND


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), max_size=60))
def test_no_span_holds_more_than_its_length_and_the_burst_allow(
    burst: int, asked: list[tuple[int, int]]
) -> None:
    bucket, rate, now = Bucket(), Rate(SECOND, burst), NOW
    begun: list[datetime] = []
    for seconds, count in asked:
        now += seconds * SECOND
        begun += [now + bucket.wait(rate, now, place) for place in range(1, count + 1)]
        bucket.take(rate, now, count)
    assert begun == sorted(begun)
    for first, since in enumerate(begun):
        for last in range(first, len(begun)):
            assert last - first + 1 <= (begun[last] - since) / SECOND + burst
