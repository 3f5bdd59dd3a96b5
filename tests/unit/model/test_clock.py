"""Clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.model.clock import AnchoredClock, HandClock, SystemClock

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_the_hand_clock_stands_still_until_it_is_moved() -> None:
    clock = HandClock(NOON)

    clock.advance(90)

    assert clock.now() == NOON + timedelta(seconds=90)
    assert clock.monotonic() == 90


def test_the_hand_clock_can_not_go_back() -> None:
    with pytest.raises(ValueError, match="only moves forward"):
        HandClock().advance(-1)


def test_the_anchored_clock_carries_the_database_time_forward() -> None:
    hand = HandClock()
    clock = AnchoredClock(NOON, hand)

    hand.advance(10)
    carried = clock.now()
    clock.anchor(NOON + timedelta(hours=1), asked=clock.monotonic())
    hand.advance(5)

    assert carried == NOON + timedelta(seconds=10)
    assert clock.now() == NOON + timedelta(hours=1, seconds=5)
    assert clock.monotonic() == hand.monotonic()


@pytest.mark.parametrize(
    ("shown", "took", "ahead"),
    [
        (10, 0, 0),  # agrees
        (9, 2, 0),  # read somewhen within the two seconds: it may well agree
        (12, 2, 2),  # we were late
        (7, 2, -1),  # we were ahead, and may still be by as much as the answer took
        (7, 3600, 0),  # an answer that was lost and asked for again tells nothing
    ],
)
def test_an_answer_moves_the_anchored_clock_as_little_as_it_has_to(
    shown: float, took: float, ahead: float
) -> None:
    hand = HandClock()
    steps: list[float] = []
    clock = AnchoredClock(NOON, hand)
    clock.on_step = lambda: steps.append(ahead)
    hand.advance(10)

    clock.anchor(NOON + timedelta(seconds=shown), asked=hand.monotonic() - took)

    assert clock.now() == NOON + timedelta(seconds=10 + ahead)
    assert steps == [each for each in [ahead] if each > 0]


def test_the_system_clock_knows_the_time_zone_and_never_goes_back() -> None:
    clock = SystemClock()

    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()
