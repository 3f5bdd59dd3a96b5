"""Cares for the tables of tenants, a few of them a request."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from orchestrator.daemon.errands import Errands
from orchestrator.lifecycle.maintenance import maintain
from orchestrator.model.ids import TenantId
from orchestrator.model.maintenance import MaintenanceReport
from orchestrator.model.progress import Report, unheard
from orchestrator.store.control import figures

SLICE_SECONDS = 2.0
"""No further table is begun after so long: whoever asked hears how far it is."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TenantMaintenance:
    """`Maintenance` of `http.services`."""

    errands: Errands

    async def run(
        self,
        tenant: TenantId,
        *,
        after: str,
        statement_seconds: float,
        report: Report = unheard,
    ) -> MaintenanceReport:
        """Care for some tables of a tenant; one that was never used has none."""
        row = await self.errands.shards.row(tenant)
        if row.provisioned_at is None:
            return MaintenanceReport(tenant=tenant, tables=[])
        async with self.errands.connection(
            "maintenance", row, lock_timeout="2s", statement_seconds=statement_seconds
        ) as connection:
            done = await maintain(
                connection, tenant, after=after, seconds=SLICE_SECONDS, report=report
            )
        async with self.errands.shards.control.acquire() as connection:
            await figures.fall_due(connection, tenant)
        for table in done.tables:
            if table.corrupt:
                log.error("index.corrupt", tenant=tenant, table=table.name, indexes=table.corrupt)
        return done
