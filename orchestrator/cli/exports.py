"""`tenant export|import`: a tenant's data in open formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.archive.export import Kind
from orchestrator.cli import output
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.cli.tenants import TenantArgument

ToDirectory = Annotated[
    Path, typer.Argument(metavar="DIR", help="The directory to make; it must not be there.")
]
FromDirectory = Annotated[
    Path, typer.Argument(metavar="DIR", help="A directory that `tenant export` made.")
]
Form = Annotated[Kind, typer.Option("--format", help="The form of the rows.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    daemon_command(app, "export")(export)
    daemon_command(app, "import")(import_)


def export(door: Door, tenant: TenantArgument, directory: ToDirectory, form: Form = "csv") -> None:
    """Write a tenant's rows, a file for each table, and its finished runs into a directory here.

    Example: insula tenant export acme_corp acme_corp --format jsonl
    """
    with door.open() as client, door.progress() as report:
        done = client.tenant(tenant).archives.export(directory, kind=form, report=report)
    if door.json:
        output.document(done)
    else:
        output.fields(
            [
                ("exported", done.tenant),
                ("into", done.directory),
                ("tables", done.tables),
                ("rows", done.rows),
                ("runs", done.runs),
            ]
        )


def import_(door: Door, tenant: TenantArgument, directory: FromDirectory) -> None:
    """Add the rows of an export to a tenant's tables: all of them, or none.

    Example: insula tenant import acme_corp acme_corp
    """
    with door.open() as client, door.progress() as report:
        done = client.tenant(tenant).archives.add(directory, report=report)
    if door.json:
        output.document(done)
    else:
        output.fields(
            [
                ("imported into", done.tenant),
                ("of", done.of),
                ("tables", done.tables),
                ("rows", done.rows),
            ]
        )
