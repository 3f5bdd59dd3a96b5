"""The part of the small platform that migrates tenants."""

from __future__ import annotations

from orchestrator.http.services import Notes
from orchestrator.model.migration import (
    FailedMigration,
    MigratedTenant,
    MigrateTenants,
    MigrationReport,
)
from orchestrator.model.progress import Progress, Report


class HandMadeMigrations:
    """Notes what was wanted. Tenant `broken` fails."""

    def __init__(self) -> None:
        self.wanted: list[MigrateTenants] = []

    async def run(self, wanted: MigrateTenants, record: Notes, report: Report) -> MigrationReport:
        self.wanted.append(wanted)
        names = wanted.tenants or ["acme_corp"]
        report(Progress("migrating", 0, len(names), "tenants"))
        done = [each for each in names if each != "broken"]
        for each in names:
            async with record.of(each, "tenant.migrate"):
                pass
        return MigrationReport(
            dry_run=wanted.dry_run,
            migrated=[MigratedTenant(tenant=each, files=["0001_flight"]) for each in done],
            failed=[
                FailedMigration(
                    tenant="broken",
                    code="migration_failed",
                    detail="0001_flight.sql:3: there is no such type",
                    hint="mend it",
                )
                for each in names
                if each == "broken"
            ],
            up_to_date=2,
        )
