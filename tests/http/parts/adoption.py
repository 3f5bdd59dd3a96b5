"""The part of the small platform that adopts schemas."""

from __future__ import annotations

from orchestrator.model.adoption import AdoptionReport, AdoptSchema
from orchestrator.model.errors import AdoptionRefused
from orchestrator.model.ids import TenantId


class HandMadeAdoption:
    """Adopts any schema but `insula`."""

    async def run(self, tenant: TenantId, wanted: AdoptSchema) -> AdoptionReport:
        obstacles = ["it is not one of the application's"] if wanted.schema == "insula" else []
        if obstacles and not wanted.dry_run:
            raise AdoptionRefused(tenant, wanted.schema, obstacles)
        return AdoptionReport(
            tenant=tenant,
            schema=wanted.schema,
            becomes=f"tenant_{tenant}",
            dry_run=wanted.dry_run,
            at=wanted.at or 2,
            plan=[f"ALTER SCHEMA {wanted.schema} RENAME TO tenant_{tenant}"],
            obstacles=obstacles,
            notices=["web has rights on its tables, and keeps them"],
        )
