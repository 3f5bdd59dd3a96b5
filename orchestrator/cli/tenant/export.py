"""`tenant export|import`: a tenant's data in open formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.archive.export import Kind
from orchestrator.cli import output
from orchestrator.cli.arguments import TenantArgument
from orchestrator.cli.connect import Door, daemon_command

ToDirectory = Annotated[
    Path, typer.Argument(metavar="DIR", help="The directory to make; it must not be there.")
]
FromDirectory = Annotated[
    Path, typer.Argument(metavar="DIR", help="A directory that `tenant export` made.")
]
Unsealed = Annotated[
    bool, typer.Option("--unsealed", help="Write what runs carry as it was before it was sealed.")
]
Form = Annotated[Kind, typer.Option("--format", help="The form of the rows.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    daemon_command(app, "export")(export)
    daemon_command(app, "import")(import_)


def export(
    door: Door,
    tenant: TenantArgument,
    directory: ToDirectory,
    form: Form = "csv",
    unsealed: Unsealed = False,
) -> None:
    """Write a tenant's rows, a file for each table, and its finished runs into a directory here.

    What the runs of a tenant with encrypt_payloads carry stays sealed: no other program reads it,
    unless you say --unsealed, which the audit tells.

    Example: insula tenant export acme_corp acme_corp --format jsonl
    """
    with door.open() as client, door.progress() as report:
        done = client.tenant(tenant).archives.export(
            directory, kind=form, unsealed=unsealed, report=report
        )
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
        if done.sealed:
            output.say("what the runs carry is sealed: --unsealed writes it for others to read")


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
