"""Takes schemas that exist under management."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from orchestrator.daemon.errands import Errands
from orchestrator.daemon.tenants import Tenants, read_spec
from orchestrator.lifecycle.adoption import adopt
from orchestrator.model.adoption import AdoptionReport, AdoptSchema
from orchestrator.model.errors import AdoptionRefused
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
        row = await self.tenants.shards.row(tenant)
        if row.shard != CONTROL_SHARD:
            reason = (
                f"the tenant is declared for shard {row.shard}: adopt it first, and move it then"
            )
            raise AdoptionRefused(tenant, wanted.schema, [reason])
        spec = await read_spec(self.tenants.spec, self.tenants.snapshot)
        async with self.errands.connection("adoption", lock_timeout=LOCK_TIMEOUT) as connection:
            report = await adopt(connection, tenant, wanted, spec, lock_timeout=LOCK_TIMEOUT)
        if not wanted.dry_run:
            await self.tenants.refresh()
            log.info("tenant.adopted", tenant=tenant, schema=wanted.schema, at=report.at)
        return report
