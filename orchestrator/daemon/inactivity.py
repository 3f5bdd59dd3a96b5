"""Archives tenants that nobody uses, and brings back those that somebody does, if configured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import structlog

from orchestrator.daemon.archives import TenantArchives
from orchestrator.daemon.lifecycle import TenantLifecycle
from orchestrator.http.audit import Record
from orchestrator.http.services import Audit
from orchestrator.model.errors import DatabaseUnavailable, InsulaError, TenantStarting
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import unheard
from orchestrator.settings.archive import ArchiveSection
from orchestrator.store.connect import DRIVER_ERRORS, ControlPool
from orchestrator.store.control import tenants as rows
from supervisors.standing import Standing

SWEEP_SECONDS = 600.0
"""How often a node looks for tenants that nobody has used for long."""

AGAIN_SECONDS = 15.0
"""When a tenant may be brought back again that was not because a database was away."""

COMES_BACK_SECONDS = 2.0
"""When to ask again for a tenant that is being brought back."""

log = structlog.get_logger(__name__)


@dataclass
class Inactivity:
    """The policy of one node; `settings` are those in force."""

    control: ControlPool
    lifecycle: TenantLifecycle
    archives: TenantArchives
    audit: Audit
    settings: Callable[[], ArchiveSection]
    _wanted: dict[TenantId, None] = field(default_factory=dict)
    _asked: anyio.Event = field(default_factory=anyio.Event)
    _not_before: dict[TenantId, float] = field(default_factory=dict)

    def use(self, tenant: TenantId) -> None:
        """Have an archived tenant brought back, if so configured: TenantStarting says so.

        One that could not be brought back, as its file is on another node, is tried again much
        later, and soon if a database was away; until then whoever asks is told that it is archived.
        """
        early = anyio.current_time() < self._not_before.get(tenant, 0.0)
        if early or not self.settings().restore_on_use:
            return
        self._wanted[tenant] = None
        self._asked.set()
        raise TenantStarting(
            f"tenant {tenant!r} is being brought back from its archive",
            hint="ask again in a moment",
            retry_after=COMES_BACK_SECONDS,
        )

    async def run(self, standing: Standing) -> None:
        """Do both, for ever, one tenant at a time."""
        sweep_at = anyio.current_time()
        while True:
            await self.bring_back()
            if anyio.current_time() >= sweep_at:
                sweep_at = anyio.current_time() + SWEEP_SECONDS
                if standing.outage is None:
                    await self.sweep()
            with anyio.move_on_at(sweep_at):
                await self._asked.wait()

    async def bring_back(self) -> None:
        """Bring back the tenants that somebody wants to use."""
        self._asked = anyio.Event()
        while self._wanted:
            tenant = next(iter(self._wanted))
            try:
                async with Record(self.audit, "insula").of(tenant, "tenant.unarchive", "on use"):
                    await self.archives.unarchive(tenant, unheard)
            except (InsulaError, *DRIVER_ERRORS) as error:
                log.error("tenant.not_brought_back", tenant=tenant, error=str(error))  # noqa: TRY400 - no bug
                away = isinstance(error, DatabaseUnavailable)
                again = AGAIN_SECONDS if away else SWEEP_SECONDS
                self._not_before[tenant] = anyio.current_time() + again
            else:
                self._not_before.pop(tenant, None)
            del self._wanted[tenant]

    async def sweep(self) -> None:
        """Archive the tenants that were not used for as long as is configured."""
        after = self.settings().after
        if after is None:
            return
        try:
            async with self.control.acquire() as connection:
                found = await rows.inactive(connection, after)
            for tenant in found:
                await self._archive(tenant)
        except (InsulaError, *DRIVER_ERRORS) as error:
            # The keeper tells of the outage; the next sweep finds what this one missed.
            log.warning("tenants.not_swept", error=str(error))

    async def _archive(self, tenant: TenantId) -> None:
        try:
            async with Record(self.audit, "insula").of(tenant, "tenant.archive", "not used"):
                await self.lifecycle.archive(tenant)
        except (InsulaError, *DRIVER_ERRORS) as error:
            log.warning("tenant.not_archived", tenant=tenant, error=str(error))
