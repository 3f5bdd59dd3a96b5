"""Has a tenant that is in quarantine try again at once, because somebody says that it is mended."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import structlog

from orchestrator.model.errors import TenantStarting
from supervisors.decide import Record
from supervisors.patience import REPLY_SECONDS
from supervisors.root import RootSupervisor
from supervisors.slot import Slot, SlotState

log = structlog.get_logger(__name__)


def probe_now(root: RootSupervisor, slot: Slot) -> bool:
    """Have its probe due now; tell whether it was in quarantine."""
    if slot.state is not SlotState.QUARANTINED:
        return False
    slot.retry_at = datetime.min.replace(tzinfo=UTC)
    root.probe()
    return True


async def try_again(root: RootSupervisor, slot: Slot) -> None:
    """Have a tenant in quarantine start, and return when it serves; one that is not is left alone.

    Raises TenantQuarantined when it fails again, DatabaseUnavailable when its server is silent, and
    TenantStarting when that takes too long to tell.
    """
    if not probe_now(root, slot):
        return
    # Else every try of a person would put off the next one that is made without them.
    slot.record = Record(probes=1)
    log.info("tenant.tried_again", tenant=slot.config.id)
    with anyio.move_on_after(REPLY_SECONDS):
        while slot.state is SlotState.STARTING:
            await root.sick.tried.wait()
    slot.check_open(root.ground.clock.now())
    if slot.state in (SlotState.STARTING, SlotState.BACKOFF):
        because = f": {slot.last_error}" if slot.last_error else ""
        raise TenantStarting(
            f"tenant {slot.config.id!r} is {slot.state}{because}",
            hint=f"it goes on trying; insula tenant why {slot.config.id} tells what comes of it",
        )
