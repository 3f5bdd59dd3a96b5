"""Moves, by hand."""

from __future__ import annotations

from orchestrator.model import errors
from orchestrator.model.ids import TenantId
from orchestrator.model.moves import MovedTenant, MoveTenant
from orchestrator.model.progress import Progress, Report, unheard


class HandMadeMoves:
    """Takes a tenant anywhere but to shard `away`."""

    def __init__(self) -> None:
        self.asked: list[tuple[TenantId, MoveTenant]] = []
        self.kept: str | None = None

    async def run(
        self, tenant: TenantId, wanted: MoveTenant, *, report: Report = unheard
    ) -> MovedTenant:
        self.asked.append((tenant, wanted))
        if wanted.to == "away":
            raise errors.DatabaseUnavailable("shard 'away' has not answered")
        if wanted.to and self.kept:
            raise errors.CopyKept(tenant, self.kept)
        report(Progress("comparing", 1, 8, "tables"))
        self.kept = "control" if wanted.to else None
        return MovedTenant(
            tenant=tenant, shard=wanted.to or "eu", kept_on=self.kept, tables=8, rows=12
        )
