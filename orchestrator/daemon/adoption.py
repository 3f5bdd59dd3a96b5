"""Takes schemas that exist under management."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from orchestrator.daemon.errands import Errands
from orchestrator.daemon.tenants import Tenants
from orchestrator.lifecycle.adoption import adopt
from orchestrator.model.adoption import AdoptionReport, AdoptSchema
from orchestrator.model.errors import TenantElsewhere
from orchestrator.model.ids import CONTROL_SHARD, TenantId

LOCK_TIMEOUT = "5s"
"""How long it waits for tables that the application uses: all that comes waits behind it."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TenantAdoption:
    """Implements what the HTTP layer needs."""

    tenants: Tenants
    errands: Errands

    async def run(self, tenant: TenantId, wanted: AdoptSchema) -> AdoptionReport:
        """Make the schema that of a registered tenant that has none yet; AdoptionRefused."""
        row = self.tenants.remembered(tenant)
        if row is not None and row.shard != CONTROL_SHARD:
            raise TenantElsewhere(
                tenant,
                f"tenant {tenant!r} has its tables on shard {row.shard!r}, and a schema is adopted "
                "beside the control schema",
                hint=f"insula tenant move {tenant} --to {CONTROL_SHARD}, and adopt it then",
            )
        spec = await self.tenants.read_spec()
        async with self.errands.connection("adoption", lock_timeout=LOCK_TIMEOUT) as connection:
            report = await adopt(connection, tenant, wanted, spec, lock_timeout=LOCK_TIMEOUT)
        if not wanted.dry_run:
            await self.tenants.refresh()
            log.info("tenant.adopted", tenant=tenant, schema=wanted.schema, at=report.at)
        return report
