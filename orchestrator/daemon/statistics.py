"""Tenants in figures."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from orchestrator.daemon.errands import Errands
from orchestrator.daemon.tenants import Tenants
from orchestrator.model.figures import TenantFigures
from orchestrator.model.ids import TenantId
from orchestrator.store.tenant import statistics

READ_SECONDS = 10.0
COUNT_SECONDS = 300.0
"""How long to read, and how long when all rows are counted."""


@dataclass(frozen=True)
class TenantStatistics:
    """Reads the figures of one tenant at a time; nothing is kept."""

    tenants: Tenants
    errands: Errands

    async def read(self, tenant: TenantId, *, exact: bool) -> TenantFigures:
        """Return the tenant in figures; one that was never used has hardly any."""
        logins = self.tenants.spec.logins(tenant)
        row = await self.errands.shards.row(tenant)
        found = TenantFigures(tenant=tenant)
        if row.provisioned_at is not None:
            async with self.errands.connection(
                "statistics", row, lock_timeout="500ms"
            ) as connection:
                found = await statistics.read(
                    connection,
                    tenant,
                    [logins.engine, logins.app],
                    seconds=COUNT_SECONDS if exact else READ_SECONDS,
                    exact=exact,
                )
        return msgspec.structs.replace(found, last_active_at=row.last_active_at)
