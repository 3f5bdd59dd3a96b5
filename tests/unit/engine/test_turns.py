"""How long turns are: more slots for tasks that are short, and nobody notices."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.turns import PARTS, QUANTUM_SECONDS, Pace
from tests.unit.engine.crowd import Crowd, Tenant

SHORT = QUANTUM_SECONDS / 1000
LONG = 60.0


def pace(*attempts: float) -> Pace:
    """Return the pace of a tenant that has made these attempts."""
    made = Pace()
    for seconds in attempts:
        made.note(seconds)
    return made


@pytest.mark.parametrize(
    ("attempts", "slots"),
    [
        ([], 1),
        ([LONG], 1),
        ([QUANTUM_SECONDS], 1),
        ([QUANTUM_SECONDS / 3], 3),
        ([SHORT], 64 // PARTS),
        ([0.0], 64 // PARTS),
        ([SHORT, LONG], 1),
        ([SHORT, 2 * QUANTUM_SECONDS], 1),
        ([LONG, SHORT], 1),
        ([SHORT, 0.8 * QUANTUM_SECONDS], 64 // PARTS),
    ],
)
def test_a_turn_is_as_many_attempts_as_fit_into_its_time(attempts: list[float], slots: int) -> None:
    assert pace(*attempts).turn(total=64, weight=1, used=0) == slots
    assert pace(*attempts).turn(total=64, weight=3, used=0) == 3 * slots


def test_a_tenant_that_has_slots_gets_what_is_missing_of_a_long_turn() -> None:
    turns = [pace(SHORT).turn(total=64, weight=2, used=used) for used in (0, 5, 15, 40)]
    assert turns == [16, 11, 2, 2]


def test_a_node_of_few_slots_knows_no_long_turns() -> None:
    assert pace(SHORT).turn(total=PARTS, weight=1, used=0) == 1
    assert pace().turn(total=1, weight=1, used=0) == 1


def test_tasks_that_were_long_are_short_again_after_some_attempts() -> None:
    made = pace(LONG)
    attempts = next(n for n in itertools.count() if _turn_after(made, SHORT) > 1)
    assert attempts < 100


def _turn_after(made: Pace, seconds: float) -> int:
    made.note(seconds)
    return made.turn(total=64, weight=1, used=0)


WEIGHTS = st.integers(1, 5)
SECONDS = st.floats(SHORT, 10 * QUANTUM_SECONDS)
KINDS = st.lists(st.tuples(WEIGHTS, SECONDS), min_size=1, max_size=12)
TOTALS = st.integers(1, 100)


@given(total=TOTALS, kinds=KINDS, weight=WEIGHTS)
def test_nobody_waits_for_more_than_one_turn_of_each_other(
    total: int, kinds: list[tuple[int, float]], weight: int
) -> None:
    crowd = Crowd(total)
    others = crowd.come(*kinds)
    crowd.run(until=lambda: _started(others) > 10 * total)
    before = [len(other.starts) for other in others]

    (late,) = crowd.come((weight, SHORT))
    crowd.run(until=lambda: bool(late.starts))

    for other, had in zip(others, before, strict=True):
        got = len(other.starts) - had
        assert got <= other.weight * max(1, total // PARTS)
        assert got * other.seconds <= other.weight * max(QUANTUM_SECONDS, other.seconds) * 1.01


@given(total=TOTALS, weights=st.lists(WEIGHTS, min_size=2, max_size=12), seconds=SECONDS)
def test_tenants_whose_tasks_take_alike_get_their_shares_within_two_turns(
    total: int, weights: list[int], seconds: float
) -> None:
    crowd = Crowd(total)
    crowd.come((1, seconds))

    tenants = crowd.come(*((weight, seconds) for weight in weights))
    crowd.run(until=lambda: _started(tenants) > 50 * total)

    shares = [len(tenant.starts) / tenant.weight for tenant in tenants]
    assert max(shares) - min(shares) <= 2 * max(1, total // PARTS)


@given(total=TOTALS, weight=WEIGHTS)
def test_a_tenant_whose_tasks_become_long_holds_one_long_turn_too_many_at_most(
    total: int, weight: int
) -> None:
    crowd = Crowd(total)
    _, changed = crowd.come((1, SHORT), (weight, SHORT))
    crowd.run(until=lambda: len(changed.starts) > 2 * total)
    changed.seconds, before = LONG, len(changed.starts)

    crowd.run(until=lambda: crowd.now > LONG / 2 or changed.slots.used == total)

    since = changed.starts[before:]
    turns = 1 + sum(b - a > 1 for a, b in itertools.pairwise(since))
    assert len(since) <= weight * (turns + 1 + total // PARTS)


def _started(tenants: list[Tenant]) -> int:
    return sum(len(tenant.starts) for tenant in tenants)
