"""`tenant adopt`: makes a tenant of a schema that exists."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import output
from orchestrator.cli.arguments import TenantArgument
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.cli.exit import DONE, FAILED
from orchestrator.model.adoption import AdoptionReport

Schema = Annotated[str, typer.Option(metavar="SCHEMA", help="The schema as it is called now.")]
At = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, help="It has the migrations up to this. [default: compare]"),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Do it and roll it back; print what was done.")
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    daemon_command(app, "adopt")(adopt)


def adopt(
    door: Door, tenant: TenantArgument, schema: Schema, at: At = None, dry_run: DryRun = False
) -> int:
    """Make an existing schema, `public` too, that of a tenant that was never used.

    Example: insula tenant adopt acme_corp --schema legacy_acme --dry-run
    """
    with door.open() as client:
        found = client.tenant(tenant).lifecycle.adopt(schema, at=at, dry_run=dry_run)
    if door.json:
        output.document(found)
    else:
        _print(found)
    return FAILED if found.obstacles else DONE


def _print(found: AdoptionReport) -> None:
    if found.dry_run:
        for step in found.plan:
            typer.echo(output.line(step))
    for what, lines in (
        ("obstacle", found.obstacles),
        ("notice", found.notices),
        ("differs", found.differences),
    ):
        for each in lines:
            output.say(f"{what}: {output.line(each)}")
    if found.obstacles:
        return
    done = "would become" if found.dry_run else "is now"
    output.say(f"{output.line(found.schema)} {done} {found.becomes}, at migration {found.at:04}")
