"""Keeps tenants quiet while a verb works on them: nobody serves them, nobody submits to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import anyio
import structlog

from orchestrator.daemon.renaming import finish
from orchestrator.daemon.tenants import Tenants
from orchestrator.http.audit import Record
from orchestrator.http.services import Audit
from orchestrator.model.errors import InsulaError, LeaseHeldElsewhere, TenantHeld
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import DRIVER_ERRORS, ControlPool
from orchestrator.store.control import holds as rows
from orchestrator.store.control import leases
from orchestrator.store.control.holds import Hold
from supervisors.root import RootSupervisor
from supervisors.standing import Standing

LOOK_SECONDS = 0.2
"""How often it is looked whether another node has let go."""

RELEASE_SECONDS = 5.0
"""How long a release may take to be written; the next sweep finds what was not."""

SWEEP_SECONDS = 10.0
"""How often a node looks for holds that nobody will release."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Holds:
    """The holds of this node. `patience`: seconds for a tenant to come to rest."""

    root: RootSupervisor
    control: ControlPool
    tenants: Tenants
    audit: Audit
    node: UUID
    patience: float
    _holding: set[TenantId] = field(default_factory=set)

    @asynccontextmanager
    async def of(
        self, tenant: TenantId, verb: str, *, becomes: TenantId | None = None
    ) -> AsyncIterator[Hold]:
        """Hold a tenant for `verb` while the block runs, which begins when no node has it any more.

        Its runs stay where they are, and go on afterwards: perhaps under the id that it `becomes`.
        Raises TenantHeld, TenantNotFound, or LeaseHeldElsewhere when a node does not let go in
        time. A transaction that must not end after the hold begins with
        `store.control.holds.keep`.
        """
        if tenant in self._holding:
            raise TenantHeld(tenant, "another verb")
        names = {tenant, becomes or tenant}
        self._holding.update(names)
        try:
            async with self.control.acquire() as connection:
                hold = await rows.take(connection, tenant, verb, self.node)
            log.info("tenant.held", tenant=tenant, verb=verb)
            try:
                await self.tenants.refresh()
                await self.until_let_go(tenant, f"held for {verb}")
                yield hold
            finally:
                await self._release(hold)
        finally:
            self._holding.difference_update(names)

    async def until_let_go(self, tenant: TenantId, what: str) -> None:
        """Wait until no node has the tenant: each sees soon `what` becomes of it."""
        name: str | None = None
        with anyio.move_on_after(self.patience):
            while True:
                async with self.control.acquire() as connection:
                    name = await leases.holder(connection, tenant)
                if name is None and not self.root.serves(tenant):
                    return
                await anyio.sleep(LOOK_SECONDS)
        raise LeaseHeldElsewhere(
            tenant, f"tenant {tenant!r} is {what}, and node {name or 'this one'} still has it"
        )

    async def _release(self, hold: Hold) -> None:
        try:
            with anyio.fail_after(RELEASE_SECONDS, shield=True):
                async with self.control.acquire() as connection:
                    await rows.release(connection, hold)
                await self.tenants.refresh()
            log.info("tenant.released", tenant=hold.tenant, verb=hold.verb)
        except (InsulaError, TimeoutError, *DRIVER_ERRORS) as error:
            log.warning("tenant.not_released", tenant=hold.tenant, error=str(error))

    async def watch(self, standing: Standing) -> None:
        """Release, for ever, what a node held that died, and what this one could not release."""
        while True:
            if standing.outage is None:
                try:
                    await self.sweep()
                except (InsulaError, *DRIVER_ERRORS) as error:
                    # The keeper tells of the outage; the next sweep finds what this one missed.
                    log.warning("tenants.not_swept", error=str(error))
            await anyio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Release what nobody else will: what was under way there has been done or has not."""
        async with self.control.acquire() as connection:
            found = await rows.abandoned(connection, self.node, self._holding)
        for hold in found:
            if not await self._renamed(hold):
                continue
            record = Record(self.audit, "insula")
            async with record.of(hold.tenant, "tenant.release", f"held for {hold.verb}"):
                await self._release(hold)

    async def _renamed(self, hold: Hold) -> bool:
        """Return whether the tenant has its new name everywhere, if it was to have one."""
        try:
            await finish(self.tenants, hold.tenant)
        except (InsulaError, *DRIVER_ERRORS) as error:
            log.warning("tenant.renaming_not_finished", tenant=hold.tenant, error=str(error))
            return False
        return True
