"""Which slots are not simply asleep: what looks again and again must not look at all there are."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.model.ids import TenantId
from supervisors.slot import Slot, SlotState


class ActiveSet:
    """Told of every slot whose state changes; those that fell asleep leave when it is looked at."""

    def __init__(self) -> None:
        self._slots: dict[TenantId, Slot] = {}

    def note(self, slot: Slot) -> None:
        """Note a slot that is new, or whose state has changed."""
        self._slots[slot.config.id] = slot

    def __iter__(self) -> Iterator[Slot]:
        for tenant, slot in list(self._slots.items()):
            if _sleeps(slot):
                del self._slots[tenant]
            else:
                yield slot


def _sleeps(slot: Slot) -> bool:
    if slot.state is SlotState.GONE:
        return True
    return slot.state is SlotState.DORMANT and slot.held is None and not slot.removed
