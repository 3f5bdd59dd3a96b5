"""Which limit refuses what is about to be submitted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.errors import QuotaExceeded
from orchestrator.quota.limits import Usage, Wanted, check_submit
from orchestrator.settings.model import Limits

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = Wanted("default", 10)


def refusal(limits: Limits, wanted: list[Wanted], **used: Any) -> QuotaExceeded | None:
    """Return the error, or None when all is well."""
    usage = Usage(queued=used.get("queued", 0))
    usage.accepted(limits, used.get("accepted", 0), NOW - used.get("ago", timedelta(0)))
    try:
        check_submit("acme", limits, usage, wanted, now=NOW)
    except QuotaExceeded as error:
        return error
    return None


@pytest.mark.parametrize(
    ("limits", "wanted", "used", "sentence"),
    [
        ({"max_payload_bytes": 9}, [RUN], {}, "the input has 10 bytes; tenant 'acme' may send 9"),
        ({"allowed_queues": ["a", "b"]}, [RUN], {}, "may not use queue 'default'; allowed: a, b"),
        ({"max_queue_length": 5}, [RUN] * 2, {"queued": 4}, "has 4 runs waiting and may have 5; 2"),
        ({"max_runs_per_hour": 5}, [RUN], {"accepted": 5}, "is limited to max_runs_per_hour = 5"),
        ({"max_runs_per_day": 5}, [RUN], {"accepted": 5}, "is limited to max_runs_per_day = 5"),
        ({"rate": 5}, [RUN], {"accepted": 5}, "is limited to rate = 5"),
        ({"rate": 2}, [RUN] * 3, {}, "rate = 2, fewer than were sent"),
        ({"max_runs_per_hour": 2}, [RUN] * 3, {}, "max_runs_per_hour = 2, fewer than were sent"),
    ],
)
@pytest.mark.requirement("quota.allowed_queues", "quota.max_runs_per_day")
def test_the_limit_that_refuses_is_named(
    limits: dict[str, Any], wanted: list[Wanted], used: dict[str, Any], sentence: str
) -> None:
    error = refusal(Limits(**limits), wanted, **used)
    assert error is not None
    assert sentence in str(error)
    (name,) = limits
    assert (error.limit, error.data["allowed"]) == (name, limits[name])


@pytest.mark.parametrize(
    ("limits", "wanted", "used"),
    [
        ({}, [RUN] * 10_000, {"queued": 10**6, "accepted": 10**6}),
        ({"max_payload_bytes": 10}, [RUN], {}),
        ({"rate": 5}, [RUN] * 5, {}),
        ({"rate": 5, "rate_over": "delay"}, [RUN] * 9, {"accepted": 5}),
        ({"allowed_queues": ["default"]}, [RUN], {}),
        ({"max_queue_length": 5}, [RUN], {"queued": 4}),
        ({"max_runs_per_hour": 5}, [RUN], {"accepted": 4}),
        ({"max_runs_per_hour": 5}, [RUN], {"accepted": 5, "ago": timedelta(minutes=61)}),
        ({"max_runs_per_day": 5}, [RUN], {"accepted": 5, "ago": timedelta(minutes=24 * 61)}),
    ],
)
def test_what_just_fits_is_accepted(
    limits: dict[str, Any], wanted: list[Wanted], used: dict[str, Any]
) -> None:
    assert refusal(Limits(**limits), wanted, **used) is None


@pytest.mark.requirement("quota.max_runs_per_hour", "quota.max_runs_per_day")
def test_a_rate_says_when_to_come_back() -> None:
    error = refusal(
        Limits(max_runs_per_hour=3), [RUN], accepted=3, ago=timedelta(minutes=59, seconds=30)
    )
    assert error is not None
    assert error.data["retry_after"] == 90


def test_what_never_fits_does_not_say_to_come_back() -> None:
    error = refusal(Limits(max_runs_per_day=3), [RUN] * 4)
    assert error is not None
    assert error.data["retry_after"] == 0


@given(st.lists(st.tuples(st.integers(0, 1800), st.integers(1, 4)), max_size=50))
def test_no_hour_ever_holds_more_than_was_allowed(steps: list[tuple[int, int]]) -> None:
    usage, limits, now = Usage(), Limits(max_runs_per_hour=6), NOW
    accepted: list[datetime] = []
    for seconds, count in steps:
        now += timedelta(seconds=seconds)
        try:
            check_submit("acme", limits, usage, [RUN] * count, now=now)
        except QuotaExceeded:
            continue
        usage.accepted(limits, count, now)
        accepted += [now] * count
    for moment in accepted:
        assert sum(moment - timedelta(hours=1) < each <= moment for each in accepted) <= 6


def test_what_the_database_has_refused_is_refused_until_then_or_until_the_limits_change() -> None:
    limits, usage = Limits(max_runs_per_hour=10), Usage()
    error = QuotaExceeded("acme", limit="max_runs_per_hour", allowed=10, retry_after=60)

    usage.refused(error, NOW)

    with pytest.raises(QuotaExceeded) as caught:
        check_submit("acme", limits, usage, [RUN], now=NOW + timedelta(seconds=20))
    assert caught.value.data["retry_after"] == 40
    assert str(caught.value) == str(error)
    check_submit("acme", limits, usage, [RUN], now=NOW + timedelta(seconds=60))
    usage.refused(error, NOW)
    usage.forget_refusal()
    check_submit("acme", limits, usage, [RUN], now=NOW)


def test_what_waits_changes_at_any_time_so_no_refusal_for_it_is_remembered() -> None:
    limits, usage = Limits(max_queue_length=10), Usage()
    error = QuotaExceeded("acme", limit="max_queue_length", allowed=10, retry_after=5)

    usage.refused(error, NOW)
    check_submit("acme", limits, usage, [RUN], now=NOW)

    usage.hold(error, NOW)
    with pytest.raises(QuotaExceeded):
        check_submit("acme", limits, usage, [RUN], now=NOW)


def test_tokens_that_others_took_are_not_there() -> None:
    limits, usage = Limits(rate=60, rate_burst=2), Usage()
    check_submit("acme", limits, usage, [RUN, RUN], now=NOW)

    usage.bucket.fill_at(NOW + timedelta(seconds=1))
    usage.bucket.fill_at(NOW)

    check_submit("acme", limits, usage, [RUN], now=NOW)
    with pytest.raises(QuotaExceeded, match="rate = 60"):
        check_submit("acme", limits, usage, [RUN, RUN], now=NOW)
