"""The part of the small platform that cares for tables."""

from __future__ import annotations

from orchestrator.model.ids import TenantId
from orchestrator.model.maintenance import MaintenanceReport, TableCare
from orchestrator.model.progress import Progress, Report, unheard

TABLES = ("boarding", "flight", "seat")


class HandMadeMaintenance:
    """Cares for one table a request. The last one of tenant `worn` has a corrupt index."""

    async def run(
        self,
        tenant: TenantId,
        *,
        after: str,
        statement_seconds: float,
        report: Report = unheard,
    ) -> MaintenanceReport:
        name, *left = [table for table in TABLES if table > after]
        report(Progress(f"table {name}", TABLES.index(name), len(TABLES), "tables"))
        worn = tenant == "worn" and not left
        care = TableCare(
            name=name,
            vacuumed=True,
            seconds=min(0.1, statement_seconds),
            bytes_before=16_384,
            bytes_after=8192,
            checked=1 if worn else None,
            corrupt=["seat_pkey: item order invariant violated"] if worn else [],
        )
        return MaintenanceReport(tenant=tenant, tables=[care], left=len(left))
