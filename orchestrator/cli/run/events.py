"""`run events`: what happened to a run, and what is happening."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.cli import output
from orchestrator.cli.arguments import RunArgument, TenantArgument
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.model.api import EventView

Follow = Annotated[
    bool, typer.Option("--follow", help="Go on as they happen, until the run has finished.")
]
After = Annotated[
    int, typer.Option(metavar="N", min=-1, help="Only events with a higher number than N.")
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    daemon_command(app, "events")(events)


def events(
    door: Door,
    tenant: TenantArgument,
    run: RunArgument,
    follow: Follow = False,
    after: After = -1,
) -> None:
    """Print what happened to a run. With --follow and --json each event is a line of its own.

    Example: insula run events acme_corp RUN --follow
    """
    with door.open() as client:
        found = client.tenant(tenant).handle(run).events(after=after, follow=follow)
        if door.json and not follow:
            output.document({"events": list(found)})
            return
        for event in found:
            typer.echo(output.compact(event) if door.json else _line(event))


def _line(event: EventView) -> str:
    details = {name: value for name, value in event.event.items() if name != "event"}
    name = output.line(event.event.get("event", ""))
    shown = ", ".join(f"{key} {_detail(value)}" for key, value in details.items())
    return f"{event.number:>4}  {output.line(event.at)}  {name:<15}  {shown}".rstrip()


def _detail(value: Any) -> str:
    if isinstance(value, dict) and {"type", "message"} <= value.keys():
        return output.line(f"{value['type']}: {value['message']}")
    plain = isinstance(value, str | int | float)
    return output.line(value) if plain else output.compact(value)
