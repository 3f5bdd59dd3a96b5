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
    clock.anchor(NOON + timedelta(hours=1))
    hand.advance(5)

    assert carried == NOON + timedelta(seconds=10)
    assert clock.now() == NOON + timedelta(hours=1, seconds=5)
    assert clock.monotonic() == hand.monotonic()


def test_the_system_clock_knows_the_time_zone_and_never_goes_back() -> None:
    clock = SystemClock()

    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()
