"""What holds in every test of the supervisors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from supervisors.slot import SlotState
from tests.support.moves import lawful_moves


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nodes look for work five times as often, and for each other at every second look."""
    monkeypatch.setattr("supervisors.wake.POLL_SECONDS", 0.05)
    monkeypatch.setattr("supervisors.wake.ORPHAN_TURNS", 2)


@pytest.fixture(autouse=True)
def moves() -> Iterator[list[tuple[str, SlotState]]]:
    """Yield which tenant has moved where, in order; each move was allowed."""
    with lawful_moves() as told:
        yield told
