"""`tenant pause|resume`: whether a tenant starts tasks, or one of its workflows."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import output
from orchestrator.cli.arguments import TenantArgument
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.model.api import PauseView

WorkflowOption = Annotated[
    str | None,
    typer.Option("--workflow", metavar="WORKFLOW", help="Only that workflow, not all of them."),
]
PauseReason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; shown until it is resumed.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    daemon_command(app, "pause")(pause)
    daemon_command(app, "resume")(resume)


def pause(
    door: Door, tenant: TenantArgument, workflow: WorkflowOption = None, reason: PauseReason = ""
) -> None:
    """Let a tenant start no more tasks, until it is resumed. What runs already goes on to its end.

    Example: insula tenant pause acme_corp --workflow monthly_report --reason "wrong figures"
    """
    with door.open() as client:
        view = client.tenant(tenant).pause(workflow, reason=reason)
    _print_pause(door, view)


def resume(door: Door, tenant: TenantArgument, workflow: WorkflowOption = None) -> None:
    """Take a pause back: the tenant's, or that of one workflow.

    Example: insula tenant resume acme_corp --workflow monthly_report
    """
    with door.open() as client:
        view = client.tenant(tenant).resume(workflow)
    _print_pause(door, view)


def _print_pause(door: Door, view: PauseView) -> None:
    if door.json:
        output.document(view)
        return
    whose = f"workflow {view.workflow} of {view.tenant}" if view.workflow else view.tenant
    output.say(f"{'paused' if view.paused else 'resumed'} {output.line(whose)}")
