"""`tenant maintain`: cares for a tenant's tables."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import output, values
from orchestrator.cli.arguments import TenantArgument
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.cli.exit import DONE, FAILED
from orchestrator.model.maintenance import MaintenanceReport, TableCare

Timeout = Annotated[
    str,
    typer.Option(metavar="TIME", help="How long one table, or one index, may take: 30s, 1h."),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    daemon_command(app, "maintain")(maintain)


def maintain(door: Door, tenant: TenantArgument, timeout: Timeout = "10m") -> int:
    """Vacuum and analyze a tenant's tables, and check their indexes where amcheck is installed.

    Example: insula tenant maintain acme_corp --timeout 1h
    """
    seconds = values.read_seconds(timeout, "--timeout")
    tables: list[TableCare] = []
    with door.open() as client, door.progress() as report:
        care = client.tenant(tenant).lifecycle
        done = care.maintain(statement_seconds=seconds, report=report)
        tables += done.tables
        while done.left:
            done = care.maintain(after=tables[-1].name, statement_seconds=seconds, report=report)
            tables += done.tables
    if door.json:
        output.document(MaintenanceReport(tenant=done.tenant, tables=tables))
    else:
        _print(tables)
    return FAILED if any(table.corrupt or table.problem for table in tables) else DONE


def _print(tables: list[TableCare]) -> None:
    output.table(
        ["table", "vacuumed", "time", "size", "indexes checked"],
        [
            (
                table.name,
                table.vacuumed,
                f"{table.seconds:.1f} s",
                output.size(table.bytes_after),
                "no amcheck" if table.checked is None else table.checked,
            )
            for table in tables
        ],
    )
    for table in tables:
        for corrupt in table.corrupt:
            output.say(f"{output.line(table.name)}: corrupt: {output.line(corrupt)}")
        if table.problem is not None:
            output.say(f"{output.line(table.name)}: {output.line(table.problem)}")
