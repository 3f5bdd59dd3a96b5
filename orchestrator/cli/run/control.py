"""`run cancel`, `pause`, `resume`, `retry`, `repeat` and `signal`: what is done to one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import output, values
from orchestrator.cli.arguments import RunArgument, TenantArgument
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.cli.run.start import print_started
from orchestrator.model.states import RunState

if TYPE_CHECKING:
    from orchestrator.client.sync import SyncRunHandle

Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; it stays in the run's events.")]
FromTask = Annotated[
    str | None,
    typer.Option("--from", metavar="TASK", help="The first task to do again; others are kept."),
]
SignalArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="What `ctx.wait_signal` waits for.")
]
Data = Annotated[
    str, typer.Option(metavar="JSON|@FILE|-", help="The payload; `-` reads it from stdin.")
]
SignalKey = Annotated[
    str | None, typer.Option(metavar="KEY", help="The same key is delivered once.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    daemon_command(app, "cancel")(cancel)
    daemon_command(app, "pause")(pause)
    daemon_command(app, "resume")(resume)
    daemon_command(app, "retry")(retry)
    daemon_command(app, "repeat")(repeat)
    daemon_command(app, "signal")(signal)


def cancel(door: Door, tenant: TenantArgument, run: RunArgument, reason: Reason = "") -> None:
    """Cancel a run, and the children that depend on it. It never comes back to life.

    Example: insula run cancel acme_corp RUN --reason "not needed any more"
    """
    _change(door, tenant, run, lambda handle: handle.cancel(reason=reason))


def pause(door: Door, tenant: TenantArgument, run: RunArgument, reason: Reason = "") -> None:
    """Let no further task of a run start. What runs already goes on to its end.

    Example: insula run pause acme_corp RUN
    """
    state = _change(door, tenant, run, lambda handle: handle.pause(reason=reason))
    if state is not RunState.PAUSED:
        output.say("it is paused once the tasks that are under way have ended")


def resume(door: Door, tenant: TenantArgument, run: RunArgument, reason: Reason = "") -> None:
    """Let a paused run go on.

    Example: insula run resume acme_corp RUN
    """
    _change(door, tenant, run, lambda handle: handle.resume(reason=reason))


def retry(door: Door, tenant: TenantArgument, run: RunArgument, reason: Reason = "") -> None:
    """Let a failed or dead run go on: the tasks that have not succeeded start again.

    Example: insula run retry acme_corp RUN
    """
    _change(door, tenant, run, lambda handle: handle.retry(reason=reason))


def repeat(
    door: Door, tenant: TenantArgument, run: RunArgument, from_task: FromTask = None
) -> None:
    """Start a new run with the same input, and print its id.

    Example: insula run repeat acme_corp RUN --from summarise
    """
    with door.open() as client:
        again = client.tenant(tenant).handle(run).repeat(from_task)
    print_started(door, again)


def signal(
    door: Door,
    tenant: TenantArgument,
    run: RunArgument,
    name: SignalArgument,
    data: Data = "null",
    key: SignalKey = None,
) -> None:
    """Send a run a signal. It is durable when this returns, also if nobody waits for it yet.

    Example: insula run signal acme_corp RUN approved --data '{"by": "ann"}'
    """
    payload = values.read_json(data, "--data")
    with door.open() as client:
        handle = client.tenant(tenant).handle(run)
        handle.signal(name, payload, key=key)
    if door.json:
        output.document({"run": handle.id, "signal": name})
    else:
        output.say(f"sent {output.line(name)} to {handle.id}")


def _change(
    door: Door, tenant: str, run: str, act: Callable[[SyncRunHandle], RunState]
) -> RunState:
    with door.open() as client:
        handle = client.tenant(tenant).handle(run)
        state = act(handle)
    if door.json:
        output.document({"id": handle.id, "state": state})
    else:
        typer.echo(str(state))
    return state
