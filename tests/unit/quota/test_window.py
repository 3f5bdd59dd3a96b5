"""The count of what happened lately, against one that keeps every moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.quota.window import DAY, HOUR, Window

START = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = st.lists(st.tuples(st.integers(0, 900), st.integers(1, 5)), max_size=60)
"""Seconds since the one before, and how many things happened then."""


def fill(window: Window, steps: list[tuple[int, int]]) -> tuple[list[datetime], datetime]:
    """Let it happen; return every single moment and the present."""
    moments, now = [], START
    for seconds, count in steps:
        now += timedelta(seconds=seconds)
        window.add(now, count)
        moments += [now] * count
    return moments, now


@given(STEPS, st.integers(0, 5000))
def test_the_count_is_never_too_small_and_at_most_a_step_too_large(
    steps: list[tuple[int, int]], later: int
) -> None:
    window = Window(HOUR)
    moments, now = fill(window, steps)
    now += timedelta(seconds=later)
    exact = sum(now - HOUR < moment for moment in moments)
    with_step = sum(now - HOUR - HOUR / 60 < moment for moment in moments)
    assert exact <= window.count(now) <= with_step


@given(STEPS, st.integers(1, 40), st.integers(1, 40))
def test_after_the_wait_it_fits_and_just_before_it_does_not(
    steps: list[tuple[int, int]], wanted: int, allowed: int
) -> None:
    window = Window(HOUR)
    _, now = fill(window, steps)
    wait = window.wait(now, wanted=wanted, allowed=allowed)
    if wait is None:
        assert wanted > allowed
        return
    if wait:
        just_before = now + wait - timedelta(microseconds=1)
        assert window.count(just_before) + wanted > allowed
    assert window.count(now + wait) + wanted <= allowed


def test_more_than_is_allowed_at_all_never_fits() -> None:
    assert Window(DAY).wait(START, wanted=6, allowed=5) is None


def test_an_empty_window_is_free_at_once() -> None:
    assert Window(DAY).wait(START, wanted=5, allowed=5) == timedelta(0)


@pytest.mark.parametrize("span", [HOUR, DAY])
def test_the_memory_is_bounded_however_much_happens(span: timedelta) -> None:
    window = Window(span)
    moment = START
    for _ in range(20_000):
        moment += span / 5000
        window.add(moment, 1)
        window.count(moment)
    assert len(window._steps) <= 62  # noqa: SLF001 - the bound is the point


def test_what_is_taken_back_counts_no_more_and_leaves_nothing_behind() -> None:
    window = Window(HOUR)
    window.add(START, 2)
    window.add(START + HOUR / 2, 1)
    window.take_back()
    assert window.count(START + HOUR / 2) == 2
    window.take_back()
    assert window.count(START + HOUR / 2) == 1
    assert window.count(START + 2 * HOUR) == 0
    window.take_back()
    assert window.count(START + 2 * HOUR) == 0
