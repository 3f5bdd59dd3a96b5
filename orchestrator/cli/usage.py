"""`usage`: what tenants have used, for their bills."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import output
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.model.usage import COUNTERS, Span, Used
from orchestrator.settings.duration import Duration

if TYPE_CHECKING:
    from orchestrator.client.sync import SyncClient


class By(StrEnum):
    """What one row is of."""

    HOUR = "hour"
    DAY = "day"


class Format(StrEnum):
    """How it is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


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
ByOption = Annotated[By, typer.Option("--by", help="A row for each hour or day of UTC.")]
FormatOption = Annotated[Format, typer.Option("--format", help="For people, or for a bill.")]

COLUMNS = ("tenant", "span", "starts_at", *COUNTERS)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    daemon_command(app, "usage")(usage)


def usage(
    door: Door,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    by: ByOption = By.DAY,
    shape: FormatOption = Format.TABLE,
) -> None:
    """Show what tenants have used: runs, attempts, the milliseconds of tasks. Also of deleted ones.

    Example: insula usage --from 2026-01-01 --to 2026-02-01 --format csv > january.csv
    """
    span: Span = "hour" if by is By.HOUR else "day"
    first, end = _moment(since, "--from"), _moment(until, "--to")
    as_json = door.json or shape is Format.JSON
    with door.open() as client:
        if tenant is not None:
            _show(client, tenant, (first, end, span), as_json=as_json, shape=shape)
            return
        rows = client.usage.all(since=first, until=end, by=span)
        if as_json:
            output.document({"rows": list(rows)})
        else:
            lately = "; tenants that work tell once a minute, and --tenant asks one of them now"
            _print(rows, shape, none=f"no usage in that time{lately}")


def _show(
    client: SyncClient,
    tenant: str,
    wanted: tuple[datetime | None, datetime | None, Span],
    *,
    as_json: bool,
    shape: Format,
) -> None:
    since, until, span = wanted
    found = client.usage.tenant(tenant, since=since, until=until, by=span)
    if as_json:
        output.document(found)
        return
    _print(found.rows, shape, none="no usage in that time")
    if not found.exact:
        output.say("its database did not answer: what it used lately may be missing")
    if found.alerts and shape is Format.TABLE:
        output.table(
            ["nearly used", "used", "limit", "window began", "told"],
            [(a.quota, a.used, a.allowed, a.since, a.at) for a in found.alerts],
        )


def _print(rows: Iterable[Used], shape: Format, *, none: str) -> None:
    if shape is Format.CSV:
        writer = csv.writer(sys.stdout)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([cell(getattr(row, name)) for name in COLUMNS])
        return
    shown = [
        (
            row.tenant,
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

    >>> cell("=1+1"), cell(7)
    ("'=1+1", 7)
    """
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULA else value


def _utc(row: Used) -> str:
    return (
        f"{row.starts_at.astimezone(UTC):{'%Y-%m-%d' if row.span == 'day' else '%Y-%m-%d %H:%M'}}"
    )


def _moment(text: str | None, option: str) -> datetime | None:
    """Return a time, which is of UTC unless it has an offset, as the hours and days are."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        return moment.replace(tzinfo=moment.tzinfo or UTC)
    try:
        return datetime.now(UTC) - Duration.parse(text)
    except (ValueError, OverflowError):
        sentence = f"{text!r} is neither a time like 2026-01-31 nor a while like 7d"
        raise typer.BadParameter(sentence, param_hint=option) from None


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
