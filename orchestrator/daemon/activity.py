"""Keeps up to date when tenants were active last, and what each is served as."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
import structlog

from orchestrator.model.errors import Unavailable
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import DRIVER_ERRORS, ControlPool
from orchestrator.store.control import configuration
from supervisors.root import RootSupervisor
from supervisors.slot import SlotState
from supervisors.standing import Standing

NOTE_SECONDS = 15.0
"""How late the registry may be about a tenant that is awake. One that goes to sleep notes that."""

log = structlog.get_logger(__name__)


@dataclass
class Activity:
    """Notes, in one statement for all, the tenants that were used since the last note."""

    root: RootSupervisor
    control: ControlPool
    _noted: dict[TenantId, tuple[float, str]] = field(default_factory=dict)

    async def watch(self, standing: Standing) -> None:
        """Note again and again, for ever."""
        while True:
            await anyio.sleep(NOTE_SECONDS)
            if standing.outage is not None:
                continue
            try:
                await self.note()
            except (Unavailable, *DRIVER_ERRORS) as error:
                # The keeper tells of the outage; the next note has what this one missed.
                log.warning("tenants.activity_not_noted", error=str(error))

    async def note(self) -> None:
        """Note which tenants were used, or are served otherwise, since the last note."""
        awake = [self.root.slots[tenant] for tenant in self.root.served]
        found = {
            slot.config.id: (slot.last_active, slot.config.digest)
            for slot in awake
            if slot.state is SlotState.RUNNING
        }
        changed = {
            tenant: digest
            for tenant, (at, digest) in found.items()
            if self._noted.get(tenant) != (at, digest)
        }
        if changed:
            async with self.control.acquire() as connection:
                await configuration.touch(connection, changed)
        self._noted = found
