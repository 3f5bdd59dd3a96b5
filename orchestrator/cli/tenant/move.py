"""`tenant move`: to another shard, and what becomes of the copy of before."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import output, values
from orchestrator.cli.arguments import TenantArgument, WaitForRuns
from orchestrator.cli.connect import Door, daemon_command

To = Annotated[
    str | None,
    typer.Option("--to", metavar="SHARD", help="A name of [shards.*], or control."),
]
Confirm = Annotated[bool, typer.Option("--confirm", help="Drop the copy that is kept.")]
Back = Annotated[bool, typer.Option("--back", help="Return to the copy that is kept.")]
Force = Annotated[
    bool,
    typer.Option("--force", help="Let unfinished runs go on there; with --back, give up the rest."),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    daemon_command(app, "move")(move)


def move(  # noqa: PLR0913 - one parameter for each option
    door: Door,
    tenant: TenantArgument,
    to: To = None,
    confirm: Confirm = False,
    back: Back = False,
    force: Force = False,
    wait: WaitForRuns = None,
) -> None:
    """Move a tenant to another database; the copy of before is kept until that is confirmed.

    Example: insula tenant move acme_corp --to eu --wait 5m
    """
    if [to is not None, confirm, back].count(True) != 1:
        raise typer.BadParameter("say one of --to, --confirm and --back", param_hint="--to")
    seconds = values.read_seconds(wait, "--wait")
    with door.open() as client, door.progress() as report:
        verbs = client.tenant(tenant).lifecycle
        if to is not None:
            moved = verbs.move(to, force=force, wait=seconds, report=report)
        elif confirm:
            moved = verbs.confirm_move(report=report)
        else:
            moved = verbs.move_back(force=force, report=report)
    if door.json:
        output.document(moved)
        return
    output.fields(
        [
            ("tenant", moved.tenant),
            ("shard", moved.shard),
            ("compared", f"{moved.rows} rows in {moved.tables} tables" if moved.tables else None),
            ("copy kept on", moved.kept_on),
        ]
    )
