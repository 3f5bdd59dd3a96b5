"""Which tenants an operator looks at first, as far as this node knows without asking."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nlargest
from operator import itemgetter

from supervisors.slot import Slot, SlotState

MOST = 5
"""So many tenants are named; `tenant list` has all."""


def busiest(slots: Iterable[Slot]) -> dict[str, int]:
    """Return the tenants that hold the most task slots, with how many, the most first."""
    engines = [(slot.config.id, slot.engine) for slot in slots if slot.engine is not None]
    running = {id: engine.running_tasks for id, engine in engines if engine.running_tasks}
    return dict(nlargest(MOST, running.items(), key=itemgetter(1)))


def quarantined(slots: Iterable[Slot]) -> list[str]:
    """Return tenants that need somebody, by id."""
    found: list[str] = [slot.config.id for slot in slots if slot.state is SlotState.QUARANTINED]
    return sorted(found)[:MOST]
