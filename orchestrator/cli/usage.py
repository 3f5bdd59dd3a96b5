"""`usage`: what tenants have used, for their bills."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias

import typer

from orchestrator.cli import output, values
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.model.usage import COUNTERS, Span, TenantUsage, Used

Shape: TypeAlias = Literal["table", "csv", "json"]

Tenant = Annotated[
    str | None, typer.Option(metavar="TENANT", help="Only that one, exact to this moment.")
]
Since = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="TIME", help="From then on: 2026-01-31, of UTC, or 7d; default 30 days."
    ),
]
Until = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Until before then.")]
By = Annotated[Span, typer.Option("--by", help="A row for each hour or day of UTC.")]
Format = Annotated[Shape, typer.Option("--format", help="For people, or for a bill.")]

COLUMNS = ("tenant", "span", "starts_at", *COUNTERS, "registration", "gone")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With what a cell begins that a spreadsheet takes for a formula."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    daemon_command(app, "usage")(usage)


def usage(
    door: Door,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    by: By = "day",
    shape: Format = "table",
) -> None:
    """Show what tenants have used: runs, attempts, the milliseconds of tasks. Also of deleted ones.

    Example: insula usage --from 2026-01-01 --to 2026-02-01 --format csv > january.csv
    """
    first, end = (
        None if text is None else values.read_moment(text, option, zone=UTC)
        for text, option in ((since, "--from"), (until, "--to"))
    )
    if door.json:
        shape = "json"
    with door.open() as client:
        if tenant is None:
            _show_all(client.usage.all(since=first, until=end, by=by), shape)
        else:
            _show_one(client.usage.tenant(tenant, since=first, until=end, by=by), shape)


def _show_all(rows: Iterable[Used], shape: Shape) -> None:
    if shape == "json":
        output.document({"rows": list(rows)})
    else:
        lately = "; tenants that work tell once a minute, and --tenant asks one of them now"
        _print(rows, shape, none=f"no usage in that time{lately}")


def _show_one(found: TenantUsage, shape: Shape) -> None:
    if shape == "json":
        output.document(found)
        return
    _print(found.rows, shape, none="no usage in that time")
    if not found.exact:
        output.say("its database did not answer: what it used lately may be missing")
    if found.alerts and shape == "table":
        output.table(
            ["nearly used", "used", "limit", "window began", "told"],
            [(a.quota, a.used, a.allowed, a.since, a.at) for a in found.alerts],
        )


def _print(rows: Iterable[Used], shape: Shape, *, none: str) -> None:
    if shape == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([cell(getattr(row, name)) for name in COLUMNS])
        return
    shown = [
        (
            _who(row),
            _utc(row),
            row.submitted,
            row.succeeded,
            row.failed + row.dead,
            row.attempts,
            row.task_ms,
        )
        for row in rows
    ]
    if shown:
        headings = ["tenant", "from", "runs", "succeeded", "failed", "attempts", "task ms"]
        output.table(headings, shown)
    else:
        output.say(none)


def cell(value: object) -> object:
    """Return a value as a cell of CSV, which no spreadsheet takes for a formula.

    >>> cell("=1+1"), cell(7), cell(True)
    ("'=1+1", 7, 'true')
    """
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value[:1] in FORMULA else value


def _who(row: Used) -> str:
    """Return whose the row is: several that were deleted may have been called alike."""
    return f"{row.tenant} (deleted, {str(row.registration)[:8]})" if row.gone else row.tenant


def _utc(row: Used) -> str:
    form = "%Y-%m-%d" if row.span == "day" else "%Y-%m-%d %H:%M"
    return row.starts_at.astimezone(UTC).strftime(form)
