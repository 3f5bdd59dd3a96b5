"""What holds of every change of state of every slot, whatever a test does to them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from supervisors.slot import AT_REST, MOVES, Slot, SlotState

Move = tuple[SlotState, SlotState]


@contextmanager
def lawful_moves() -> Iterator[list[tuple[str, SlotState]]]:
    """Yield who moved where, in order; in the end, see that all of it was allowed.

    A slot goes along the arrows of the table that the picture is drawn from, and while a root has
    it awake nobody but its runner moves it. Nothing is raised where the move is made: there it
    would be taken for a crash of the tenant.
    """
    told: list[tuple[str, SlotState]] = []
    undrawn: set[Move] = set()
    strangers: set[tuple[str, Move]] = set()
    plain = vars(Slot)["state"]

    def move(slot: Slot, state: SlotState) -> None:
        before = slot.state
        plain.__set__(slot, state)
        if before is state:
            return
        told.append((slot.config.id, state))
        if state not in MOVES[before]:
            undrawn.add((before, state))
        if slot.attendant is not None and before not in AT_REST:
            mover = asyncio.current_task()
            if mover is None or mover.get_name() != f"tenant {slot.config.id}":
                strangers.add((str(mover), (before, state)))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Slot, "state", plain.setter(move))
        yield told
    assert not undrawn, "no arrow of the picture"
    assert not strangers, "only its runner moves a slot that is awake"
