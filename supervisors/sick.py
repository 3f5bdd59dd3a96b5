"""Which tenants are in quarantine; the log tells when one is out of it."""

from __future__ import annotations

import structlog

from orchestrator.engine.pulse import Pulse
from orchestrator.model.ids import TenantId
from supervisors.slot import Slot, SlotState

_AT_A_TRY = (SlotState.STARTING, SlotState.BACKOFF)
"""A probe that is under way, or waits for a server: what comes of it is not known yet."""

log = structlog.get_logger(__name__)


class SickList:
    """Sees every change of state.

    `changed` beats when somebody comes or goes, `tried` at whatever happens to one who is there.
    """

    def __init__(self) -> None:
        self.tenants: set[TenantId] = set()
        self.changed = Pulse()
        self.tried = Pulse()

    def note(self, slot: Slot) -> None:
        """Note the state that a slot has just entered."""
        tenant, state = slot.config.id, slot.state
        if tenant in self.tenants:
            self.tried.beat()
        if state is SlotState.QUARANTINED and tenant not in self.tenants:
            self.tenants.add(tenant)
        elif tenant in self.tenants and state not in (SlotState.QUARANTINED, *_AT_A_TRY):
            self.tenants.discard(tenant)
            log.info("tenant.left_quarantine", tenant=tenant, state=str(state))
        else:
            return
        self.changed.beat()
