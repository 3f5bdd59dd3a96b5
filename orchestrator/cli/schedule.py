"""`schedule`: what starts runs by itself."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import output
from orchestrator.cli.arguments import TenantArgument
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.model.api import ScheduleView

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A schedule, as declared.")]

_WHEN = ("cron", "every", "at")


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    daemon_command(app, "list")(list_schedules)
    daemon_command(app, "pause")(pause)
    daemon_command(app, "resume")(resume)
    daemon_command(app, "fire")(fire)


def list_schedules(door: Door, tenant: TenantArgument) -> None:
    """List a tenant's schedules: when each fires next, and what became of its newest fire.

    Example: insula schedule list acme_corp
    """
    with door.open() as client:
        found = client.tenant(tenant).schedules()
    if door.json:
        output.document({"schedules": found})
    elif found:
        headings = ["schedule", "workflow", "when", "paused", "next", "last", "outcome"]
        output.table(headings, [_row(each) for each in found])
    else:
        output.say("no schedules; declare them in the tenant's file or its tier")


def pause(door: Door, tenant: TenantArgument, name: NameArgument) -> None:
    """Let a schedule start nothing until it is resumed. What passes meanwhile is not caught up.

    Example: insula schedule pause acme_corp nightly
    """
    with door.open() as client:
        view = client.tenant(tenant).schedule(name).pause()
    _print(door, view)


def resume(door: Door, tenant: TenantArgument, name: NameArgument) -> None:
    """Let a paused schedule go on from now.

    Example: insula schedule resume acme_corp nightly
    """
    with door.open() as client:
        view = client.tenant(tenant).schedule(name).resume()
    _print(door, view)


def fire(door: Door, tenant: TenantArgument, name: NameArgument) -> None:
    """Start a run of a schedule now, also while it is paused or an earlier run goes on.

    Example: insula schedule fire acme_corp nightly
    """
    with door.open() as client:
        run = client.tenant(tenant).schedule(name).fire()
    if door.json:
        output.document({"id": run.id, "state": run.state, "known": run.known})
    else:
        typer.echo(str(run.id))


def _print(door: Door, view: ScheduleView) -> None:
    if door.json:
        output.document(view)
    elif view.paused:
        output.say(f"{view.name} is paused")
    else:
        due = output.line(view.next_fire_at) or "never"
        output.say(f"{view.name} fires next: {due}")


def _row(view: ScheduleView) -> tuple[object, ...]:
    when = next((view.spec[key] for key in _WHEN if key in view.spec), "")
    zone = view.spec.get("timezone", "")
    last = view.last_fire
    outcome = ""
    if last is not None:
        outcome = f"{last.outcome}: {last.reason}" if last.reason else last.outcome
    return (
        view.name,
        view.workflow,
        f"{when} {zone}".strip(),
        view.paused,
        view.next_fire_at,
        last.fire_at if last is not None else None,
        outcome,
    )
