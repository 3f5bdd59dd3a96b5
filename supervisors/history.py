"""Writes down what becomes of the tenants, so that one query tells why one does not run."""

from __future__ import annotations

from datetime import datetime

import anyio
import structlog

from orchestrator.engine.pulse import Pulse
from orchestrator.model.errors import Unavailable
from orchestrator.store.connect import DRIVER_ERRORS
from orchestrator.store.control import transitions
from orchestrator.store.control.transitions import Change
from supervisors.ground import Ground
from supervisors.slot import Slot, SlotState

TOGETHER_SECONDS = 0.25
"""Changes of so long are written together."""

OUTAGE_SECONDS = 1.0
HELD = 10_000
"""So many changes, of all tenants, wait for a database that is away; older ones are dropped."""

REASON_CHARACTERS = 1000

_FAILED = (SlotState.BACKOFF, SlotState.QUARANTINED)
log = structlog.get_logger(__name__)


class History:
    """Takes notes without waiting; `run` stores them. What a crash loses of them is no work."""

    def __init__(self, ground: Ground) -> None:
        self._node = ground.name
        self._control = ground.control
        self._clock = ground.clock
        self._standing = ground.standing
        self._pending: list[Change] = []
        self._noted = Pulse()
        self._lock = anyio.Lock()

    def note(self, slot: Slot) -> None:
        """Note the state that a slot has just entered."""
        registration = slot.config.registration
        if registration is None:
            return
        change = Change(
            registration=registration,
            at=self._clock.now(),
            state=str(slot.state),
            reason=reason_of(slot),
            next_at=next_of(slot),
        )
        log.debug("tenant.state", tenant=slot.config.id, state=change.state, reason=change.reason)
        self._pending.append(change)
        del self._pending[:-HELD]
        self._noted.beat()

    async def run(self) -> None:
        """Store what was noted, for ever."""
        while True:
            if not self._pending:
                await self._noted.wait()
            await anyio.sleep(TOGETHER_SECONDS)
            if self._standing.outage is None:
                await self.flush()
            if self._pending:
                await anyio.sleep(OUTAGE_SECONDS)

    async def flush(self) -> None:
        """Store what was noted until now; what can not be stored is kept for the next time."""
        async with self._lock:
            changes, self._pending = self._pending, []
            if not changes:
                return
            try:
                async with self._control.acquire() as connection:
                    await transitions.record(connection, self._node, changes)
            except (Unavailable, *DRIVER_ERRORS) as error:
                log.warning("history.not_stored", count=len(changes), error=str(error))
                self._pending = [*changes, *self._pending][-HELD:]
            except BaseException:
                self._pending = [*changes, *self._pending][-HELD:]
                raise


def reason_of(slot: Slot) -> str:
    """Return why the slot is in its state, where that is not plain."""
    if slot.state in _FAILED:
        return (slot.last_error or "")[:REASON_CHARACTERS]
    if slot.state is SlotState.DRAINING:
        return str(slot.stop_wanted) if slot.stop_wanted else "idle"
    if slot.state is SlotState.SUSPENDED:
        if slot.config.enabled:
            return f"held for {slot.config.held_for}"
        return slot.config.disabled_because or "enabled = false"
    return ""


def next_of(slot: Slot) -> datetime | None:
    """Return when the slot leaves its state by itself, where that is known."""
    return slot.retry_at if slot.state in _FAILED else None
