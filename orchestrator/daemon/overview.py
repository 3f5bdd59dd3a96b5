"""All tenants in figures: what was kept of each, in the order that is asked for, and their sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from orchestrator.model.api import TenantSummary
from orchestrator.model.figures import (
    FiguresOrder,
    InstallationFigures,
    ListedFigures,
    RunFigures,
    TotalFigures,
)
from orchestrator.store.control.figures import KeptFigures

_NO_RUNS = RunFigures(accepted=0, succeeded=0, failed=0, p50=None, p95=None)


def _of_day(listed: ListedFigures, name: str) -> float | None:
    found: float | None = None if listed.day is None else getattr(listed.day, name)
    return found


def _last_activity(listed: ListedFigures) -> float | None:
    return None if listed.last_active_at is None else listed.last_active_at.timestamp()


_SIZES: Mapping[FiguresOrder, Callable[[ListedFigures], float | None]] = {
    FiguresOrder.RUNS: lambda listed: listed.runs,
    FiguresOrder.DAY: lambda listed: _of_day(listed, "accepted"),
    FiguresOrder.ERRORS: lambda listed: _of_day(listed, "failed"),
    FiguresOrder.TIME: lambda listed: _of_day(listed, "p95"),
    FiguresOrder.SIZE: lambda listed: listed.schema_bytes,
    FiguresOrder.ROWS: lambda listed: listed.estimated_rows,
    FiguresOrder.LAST_ACTIVITY: _last_activity,
}
"""What each order but that by id compares."""


def overview(
    summaries: Iterable[TenantSummary],
    kept: Iterable[KeptFigures],
    *,
    order: FiguresOrder,
    limit: int | None,
) -> InstallationFigures:
    """Return the tenants of `summaries`, which are by id, with what was `kept` of them.

    The largest come first and those of which it is not known last, `limit` of them; the sums are
    over all.
    """
    known: dict[str, KeptFigures] = {each.tenant: each for each in kept}
    listed = [_listed(each, known.get(each.id)) for each in summaries]
    size = _SIZES.get(order)
    ordered = listed if size is None else sorted(listed, key=_largest_first(size))
    return InstallationFigures(totals=_totals(listed), tenants=ordered[:limit])


def _largest_first(
    size: Callable[[ListedFigures], float | None],
) -> Callable[[ListedFigures], tuple[bool, float]]:
    def key(listed: ListedFigures) -> tuple[bool, float]:
        found = size(listed)
        return found is None, -(found or 0)

    return key


def _listed(summary: TenantSummary, kept: KeptFigures | None) -> ListedFigures:
    whose = ListedFigures(tenant=summary.id, name=summary.name, state=summary.state)
    if kept is None:
        return whose
    return ListedFigures(
        tenant=whose.tenant,
        name=whose.name,
        state=whose.state,
        used=kept.used,
        read_at=kept.read_at,
        age=kept.age,
        last_active_at=kept.last_active_at,
        runs=kept.runs,
        failed=kept.failed,
        day=_NO_RUNS if kept.quiet else _day(kept),
        schema_bytes=kept.schema_bytes,
        tables=kept.tables,
        estimated_rows=kept.estimated_rows,
        rows=kept.rows,
        rows_counted_at=kept.rows_counted_at,
    )


def _day(kept: KeptFigures) -> RunFigures | None:
    """Return the day before the reading; None when it could not be read."""
    if kept.day_accepted is None or kept.day_succeeded is None or kept.day_failed is None:
        return None
    return RunFigures(
        accepted=kept.day_accepted,
        succeeded=kept.day_succeeded,
        failed=kept.day_failed,
        p50=kept.day_p50,
        p95=kept.day_p95,
    )


def _totals(listed: Iterable[ListedFigures]) -> TotalFigures:
    every = [*listed]
    read: list[datetime] = [each.read_at for each in every if each.read_at is not None]
    days = [each.day for each in every if each.day is not None]
    return TotalFigures(
        tenants=len(every),
        read=len(read),
        oldest_read_at=min(read, default=None),
        runs=sum(each.runs or 0 for each in every),
        failed=sum(each.failed or 0 for each in every),
        day_accepted=sum(day.accepted for day in days),
        day_failed=sum(day.failed for day in days),
        schema_bytes=sum(each.schema_bytes or 0 for each in every),
        tables=sum(each.tables or 0 for each in every),
        estimated_rows=sum(each.estimated_rows or 0 for each in every),
    )
