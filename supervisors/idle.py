"""Who is put to sleep when all places are taken: a pure policy."""

from __future__ import annotations

from collections.abc import Iterable

from supervisors.slot import Slot, SlotState


def victim(slots: Iterable[Slot], *, now: float, residency: float) -> Slot | None:
    """Return the idle tenant that was used longest ago, or None when none may be put to sleep.

    A tenant is left alone for its first `residency` seconds, so that two tenants do not push each
    other out in turns. `now` is monotonic seconds.
    """
    idle = [
        slot
        for slot in slots
        if slot.state is SlotState.RUNNING
        and slot.stop_wanted is None
        and slot.engine is not None
        and not slot.engine.busy
        and not slot.has_mail
        and now - slot.awake_since >= residency
    ]
    return min(idle, key=lambda slot: slot.last_active, default=None)
