"""`tenant stats`: one tenant in figures."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from orchestrator.cli import output
from orchestrator.cli.arguments import TenantArgument
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.model.figures import RunFigures, TenantFigures

Exact = Annotated[bool, typer.Option("--exact", help="Count the rows of each table; takes long.")]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    daemon_command(app, "stats")(stats)


def stats(door: Door, tenant: TenantArgument, exact: Exact = False) -> None:
    """Show a tenant in figures: runs, run time, errors, size on disk, rows, connections.

    Example: insula tenant stats acme_corp --exact
    """
    with door.open() as client:
        found = client.tenant(tenant).lifecycle.stats(exact=exact)
    if door.json:
        output.document(found)
        return
    output.fields(_fields(found))
    if found.tables:
        output.table(
            ["table", "size", "rows, estimated", "rows"],
            [(t.name, output.size(t.bytes), t.estimated_rows, t.rows) for t in found.tables],
        )
    if found.errors:
        output.table(
            ["workflow", "error", "runs", "last"],
            [(e.workflow, e.type, e.runs, e.last_at) for e in found.errors],
        )
    if found.unread:
        output.say(f"locked, or not read in time: {', '.join(map(output.line, found.unread))}")


def _fields(found: TenantFigures) -> list[tuple[str, object]]:
    return [
        ("tenant", found.tenant),
        ("runs", found.runs),
        ("last hour", _lately(found.hour)),
        ("last day", _lately(found.day)),
        ("last active", found.last_active_at),
        ("connections", found.connections),
        ("on disk", None if found.schema_bytes is None else output.size(found.schema_bytes)),
    ]


def _lately(runs: RunFigures | None) -> str:
    if runs is None:
        return ""
    times = [
        f"{name} {output.line(timedelta(seconds=each))}"
        for name, each in (("p50", runs.p50), ("p95", runs.p95))
        if each is not None
    ]
    counts = [f"{name} {getattr(runs, name)}" for name in ("accepted", "succeeded", "failed")]
    return ", ".join([*counts, *times])
