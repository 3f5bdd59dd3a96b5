"""What a node may believe of itself, by its own clock alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
import pytest

from supervisors import fence as fences
from supervisors.fence import Fence
from supervisors.standing import Standing

EXPIRY = 12.0


class Hand:
    """Seconds that the test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def standing(hand: Hand) -> Standing:
    made = Standing(EXPIRY, hand)
    made.renewed(made.now())
    return made


def test_a_row_lives_from_the_moment_at_which_its_renewal_was_asked_for(
    hand: Hand, standing: Standing
) -> None:
    asked = standing.now()
    hand.seconds += 11.0
    standing.renewed(asked)
    assert standing.holds
    hand.seconds += 1.0
    assert not standing.holds


def test_a_renewal_confirmed_too_late_may_have_come_too_late(
    hand: Hand, standing: Standing
) -> None:
    term = standing.term
    hand.seconds += 11.0
    asked = standing.now()
    hand.seconds += 2.0
    standing.renewed(asked)
    assert standing.holds
    assert standing.term == term + 1
    assert not standing.steady


def test_who_renewed_in_time_is_in_the_same_term(hand: Hand, standing: Standing) -> None:
    term = standing.term
    for _ in range(5):
        hand.seconds += 11.0
        standing.renewed(standing.now())
    assert standing.term == term


def test_a_gap_begins_a_new_term_even_if_nobody_looked_meanwhile(
    hand: Hand, standing: Standing
) -> None:
    term = standing.term
    hand.seconds += 12.0
    standing.renewed(standing.now())
    assert standing.holds
    assert standing.term == term + 1


def test_steady_is_who_renewed_without_a_gap_for_the_life_of_a_row(
    hand: Hand, standing: Standing
) -> None:
    assert not standing.steady
    hand.seconds += 6.0
    standing.renewed(standing.now())
    hand.seconds += 6.0
    assert standing.steady
    hand.seconds += 6.0
    assert not standing.steady
    standing.renewed(standing.now())
    assert not standing.steady


def test_an_outage_lasts_from_its_first_error_to_the_next_renewal(
    hand: Hand, standing: Standing
) -> None:
    standing.lost("one")
    first = standing.outage
    standing.lost("two")
    assert first is not None
    assert standing.outage is not None
    assert (standing.outage.since, standing.outage.error) == (first.since, "two")
    assert standing.holds
    assert not standing.serves
    standing.renewed(standing.now())
    assert standing.outage is None
    assert standing.serves


def fence(standing: Standing, cuts: list[float], hand: Hand) -> Fence:
    return Fence(standing, cut=lambda: cuts.append(hand.seconds), look=lambda: None)


def test_the_fence_cuts_once_for_each_gap(hand: Hand, standing: Standing) -> None:
    cuts: list[float] = []
    made = fence(standing, cuts, hand)
    made.check()
    assert cuts == []
    hand.seconds += 12.0
    made.check()
    made.check()
    standing.renewed(standing.now())
    made.check()
    assert cuts == [112.0]
    hand.seconds += 13.0
    standing.renewed(standing.now())
    made.check()
    assert cuts == [112.0, 125.0], "the keeper was faster than the fence"


async def test_after_a_freeze_the_fence_comes_before_the_tasks_that_wait(
    hand: Hand, standing: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fences, "LOOK_SECONDS", 0.02)
    order: list[str] = []
    made = Fence(standing, cut=lambda: order.append("cut"), look=lambda: None)

    async def sleep() -> None:
        await anyio.sleep(0.02)
        order.append("task")

    with made.up():
        async with anyio.create_task_group() as group:
            group.start_soon(sleep)
            await anyio.lowlevel.checkpoint()
            hand.seconds += 60.0
            _block_the_loop(lambda: order.append("thawed"))
    assert order == ["thawed", "cut", "task"]


def _block_the_loop(then: Callable[[], None]) -> None:
    deadline = asyncio.get_running_loop().time() + 0.1
    while asyncio.get_running_loop().time() < deadline:
        pass
    then()
