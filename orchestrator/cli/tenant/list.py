"""`tenant list`: all tenants, as they are declared or in figures."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from orchestrator.cli import output
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.model.api import TenantPause, TenantSummary
from orchestrator.model.figures import FiguresOrder, ListedFigures, TotalFigures

InFigures = Annotated[bool, typer.Option("--stats", help="In figures, as they were last read.")]
Sort = Annotated[
    FiguresOrder | None,
    typer.Option("--sort", help=f"The largest first, by {', '.join(FiguresOrder)}."),
]
First = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", min=1, help="Only so many; the totals are of all."),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    daemon_command(app, "list")(list_tenants)


def list_tenants(
    door: Door, stats: InFigures = False, sort: Sort = None, limit: First = None
) -> None:
    """List all tenants; with --stats in figures, as they were last read.

    Example: insula tenant list --stats --sort errors --limit 10
    """
    if stats:
        _list_figures(door, sort or FiguresOrder.ID, limit)
    elif sort is None and limit is None:
        _list_declared(door)
    else:
        option = "--limit" if sort is None else "--sort"
        raise typer.BadParameter("it is for the figures: add --stats", param_hint=option)


def _list_declared(door: Door) -> None:
    with door.open() as client:
        found = client.tenants()
    if door.json:
        output.document({"tenants": found})
    elif found:
        output.table(
            [
                "tenant",
                "name",
                "tier",
                "state",
                "enabled",
                "paused",
                "near limits",
                "source",
                "aliases",
            ],
            map(_declared, found),
        )
    else:
        _say_none()


def _list_figures(door: Door, sort: FiguresOrder, limit: int | None) -> None:
    with door.open() as client:
        found = client.stats(sort=sort, limit=limit)
    if door.json:
        output.document(found)
    elif found.tenants:
        output.table(
            [
                *("tenant", "state", "runs", "failed", "last day", "failed in it", "p95"),
                *("on disk", "tables", "rows, estimated", "last active", "as of"),
            ],
            map(_cells, found.tenants),
        )
        output.say(_sums(found.totals))
    else:
        _say_none()


def _say_none() -> None:
    output.say("no tenants; declare one in a file or use `insula tenant create`")


def _cells(found: ListedFigures) -> tuple[object, ...]:
    day = found.day
    return (
        found.tenant,
        found.state,
        found.runs,
        found.failed,
        None if day is None else day.accepted,
        None if day is None else day.failed,
        None if day is None or day.p95 is None else timedelta(seconds=day.p95),
        None if found.schema_bytes is None else output.size(found.schema_bytes),
        found.tables,
        found.estimated_rows,
        found.last_active_at,
        _as_of(found),
    )


def _as_of(found: ListedFigures) -> str:
    """Return how old the figures are, or why there are none."""
    if found.age is not None:
        return f"{output.line(timedelta(seconds=found.age))} ago"
    if found.state == "archived":
        return found.state
    return "never read" if found.used else "never used"


def _sums(totals: TotalFigures) -> str:
    text = (
        f"{totals.tenants} {'tenant' if totals.tenants == 1 else 'tenants'}, "
        f"{totals.read} of them read: runs {totals.runs}, "
        f"failed {totals.failed}, last day {totals.day_accepted}, "
        f"failed in it {totals.day_failed}, on disk {output.size(totals.schema_bytes)}, "
        f"tables {totals.tables}, rows {totals.estimated_rows}"
    )
    if totals.oldest_read_at is None:
        return text
    return f"{text}; the oldest figures are of {output.line(totals.oldest_read_at)}"


def _declared(tenant: TenantSummary) -> tuple[object, ...]:
    return (
        tenant.id,
        tenant.name,
        tenant.tier,
        tenant.state,
        tenant.enabled,
        _paused(tenant),
        ", ".join(alert.quota for alert in tenant.alerts or ()) or None,
        tenant.source,
        tenant.aliases,
    )


def _paused(tenant: TenantSummary) -> str | None:
    """Return which workflows are paused, and why."""
    return ", ".join(map(_told, tenant.pauses or ())) or None


def _told(pause: TenantPause) -> str:
    what = pause.workflow or "all"
    return f"{what} ({pause.reason})" if pause.reason else what
