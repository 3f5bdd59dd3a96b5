"""A crowd that wakes at once: nobody is sent away as long as those before it get in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orchestrator.model.ids import TenantId
from orchestrator.settings.tenants import TenantConfig
from supervisors.patience import REPLY_SECONDS, Line, Turn
from supervisors.slot import SlotState
from supervisors.starts import AT_ONCE
from tests.unit.supervisors.stage import Scripted, Stage

CROWD = 3 * AT_ONCE
LAST = TenantId(f"t{CROWD - 1}")
START = 0.7 * REPLY_SECONDS
"""The first in line are served in time. For the last that is so only if the others' turns count."""


@contextmanager
def crowd(*, start_seconds: float, max_awake: int = CROWD) -> Iterator[Stage]:
    """Wake all tenants at once, by one message each."""
    stage = Scripted.stage = Stage(max_awake=max_awake, start_seconds=start_seconds)
    names = [TenantId(f"t{number}") for number in range(CROWD)]
    stage.declare(TenantConfig(id=name, name=name) for name in names)
    for name in names:
        stage.submit(name)
    yield stage
    stage.end()


def test_time_counts_anew_whenever_somebody_in_front_is_let_in() -> None:
    line, turn = Line(), Turn()
    assert turn.until(100.0) == 100.0 + REPLY_SECONDS
    other = Turn()
    for each in (other, turn):
        each.join(line)
    assert turn.until(100.0) == 100.0 + REPLY_SECONDS
    other.let_in(107.0)
    assert turn.until(100.0) == 107.0 + REPLY_SECONDS
    assert turn.until(110.0) == 110.0 + REPLY_SECONDS


def test_who_was_let_in_counts_from_then_whatever_the_line_does() -> None:
    line, turn, behind = Line(), Turn(), Turn()
    for each in (turn, behind):
        each.join(line)
    turn.let_in(105.0)
    behind.let_in(112.0)
    assert turn.until(100.0) == 105.0 + REPLY_SECONDS


def test_who_goes_without_a_turn_moves_nobody_up() -> None:
    line, turn = Line(), Turn()
    turn.join(line)
    turn.leave()
    assert line.moved_at == -math.inf
    assert turn.until(1.0) == 1.0 + REPLY_SECONDS


@pytest.mark.usefixtures("scripted")
def test_a_crowd_in_front_of_the_starts_is_served_to_the_last() -> None:
    with crowd(start_seconds=START) as stage:
        stage.pass_time(2.5 * START)
        assert (stage.handled, stage.waiting) == (2 * AT_ONCE, AT_ONCE)
        stage.pass_time(START)
        assert (stage.handled, stage.reported) == (CROWD, 0)


@pytest.mark.usefixtures("scripted")
def test_a_crowd_in_front_of_the_places_is_served_to_the_last() -> None:
    with crowd(start_seconds=2.0, max_awake=AT_ONCE // 2) as stage:
        stage.pass_time(REPLY_SECONDS)
        assert 0 < stage.handled < CROWD
        stage.pass_time(2 * REPLY_SECONDS)
        assert (stage.handled, stage.reported) == (CROWD, 0)


@pytest.mark.usefixtures("scripted")
def test_when_nobody_gets_in_all_are_told_that_nothing_was_stored_and_nothing_is() -> None:
    with crowd(start_seconds=2 * REPLY_SECONDS) as stage:
        stage.pass_time(REPLY_SECONDS + 1)
        assert stage.told == {"tenant_starting": CROWD}
        stage.pass_time(6 * REPLY_SECONDS)
        assert stage.root.slots[LAST].incarnation == 1
        assert stage.stored == 0


@pytest.mark.usefixtures("scripted")
def test_a_drain_answers_a_crowd_at_once() -> None:
    with crowd(start_seconds=START) as stage:
        drained = stage.loop.create_task(stage.root.drain())
        stage.settle()
        assert stage.told == {"shutting_down": CROWD}
        stage.loop.run_until_complete(drained)


@pytest.mark.usefixtures("scripted")
def test_who_is_removed_while_waiting_is_answered_at_once_and_holds_up_nobody() -> None:
    with crowd(start_seconds=START) as stage:
        stays = [slot.config for name, slot in stage.root.slots.items() if name != LAST]
        stage.declare(stays)
        assert stage.told == {"tenant_removed": 1}
        stage.pass_time(4 * START)
        assert stage.handled == CROWD - 1
        assert LAST not in stage.root.slots


@pytest.mark.usefixtures("scripted")
def test_a_database_that_goes_away_answers_all_who_wait_for_it() -> None:
    with crowd(start_seconds=START) as stage:
        stage.up = False
        stage.do(stage.keep)
        stage.pass_time(START + 1)
        assert stage.told == {"database_unavailable": CROWD}
        stage.up = True
        stage.do(stage.keep)
        stage.pass_time(10 * START)
        assert {slot.state for slot in stage.root.slots.values()} == {SlotState.DORMANT}
