"""What holds in every test of the supervisors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from supervisors.slot import MOVES, Slot, SlotState


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nodes look for work five times as often, and for each other at every second look."""
    monkeypatch.setattr("supervisors.wake.POLL_SECONDS", 0.05)
    monkeypatch.setattr("supervisors.wake.ORPHAN_TURNS", 2)


@pytest.fixture(autouse=True)
def moves(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[tuple[SlotState, SlotState]]]:
    """Yield how slots have moved; all of it is in the table that the picture is drawn from."""
    seen: set[tuple[SlotState, SlotState]] = set()
    plain = vars(Slot)["state"]

    def move(slot: Slot, state: SlotState) -> None:
        seen.add((slot.state, state))
        plain.__set__(slot, state)

    monkeypatch.setattr(Slot, "state", plain.setter(move))
    yield seen
    assert {(a, b) for a, b in seen if a is not b and b not in MOVES[a]} == set()
