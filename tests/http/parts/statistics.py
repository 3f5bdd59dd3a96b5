"""The part of the small platform that tells figures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from orchestrator.daemon.overview import overview
from orchestrator.model.api import TenantSummary
from orchestrator.model.figures import (
    ErrorFigures,
    FiguresOrder,
    InstallationFigures,
    RunFigures,
    TableFigures,
    TenantFigures,
)
from orchestrator.model.ids import TenantId
from orchestrator.store.control.figures import KeptFigures


class HandMadeStatistics:
    """Tells the same of every tenant; rows only when they are counted. What is kept is given."""

    def __init__(self, summaries: Callable[[], list[TenantSummary]]) -> None:
        self.kept: list[KeptFigures] = []
        self._summaries = summaries

    async def read(self, tenant: TenantId, *, exact: bool) -> TenantFigures:
        hour = RunFigures(accepted=3, succeeded=2, failed=1, p50=0.02, p95=75.0)
        failed = datetime(2026, 1, 31, 9, tzinfo=UTC)
        return TenantFigures(
            tenant=tenant,
            runs={"failed": 1, "succeeded": 2},
            hour=hour,
            day=RunFigures(accepted=0, succeeded=0, failed=0, p50=None, p95=None),
            errors=[ErrorFigures(workflow="report", type="ValueError", runs=1, last_at=failed)],
            connections=2,
            schema_bytes=471_040,
            tables=[
                TableFigures(
                    name="flight", bytes=8192, estimated_rows=40, rows=42 if exact else None
                )
            ],
            unread=[] if exact else ["rows of boarding"],
        )

    async def overview(self, *, order: FiguresOrder, limit: int | None) -> InstallationFigures:
        return overview(self._summaries(), self.kept, order=order, limit=limit)
