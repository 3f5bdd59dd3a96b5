"""`run start`: start a run, and wait for its end if wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import output, values
from orchestrator.cli.arguments import TenantArgument
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.cli.exit import DONE, FAILED
from orchestrator.cli.run.follow import follow
from orchestrator.cli.run.show import took
from orchestrator.model.api import RunView
from orchestrator.model.states import RunState

if TYPE_CHECKING:
    from orchestrator.client.sync import SyncRunHandle

WorkflowArgument = Annotated[str, typer.Argument(metavar="WORKFLOW", help="Its name.")]
Input = Annotated[
    str, typer.Option(metavar="JSON|@FILE|-", help="The run's input; `-` reads it from stdin.")
]
Key = Annotated[
    str | None, typer.Option(metavar="KEY", help="The same key gives the same run again.")
]
Queue = Annotated[str | None, typer.Option(metavar="QUEUE", help="The queue to wait in.")]
Priority = Annotated[
    int, typer.Option(metavar="N", min=0, max=9, help="0 to 9; higher goes first.")
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TAG", help="A label of yours; may be given again."),
]
Delay = Annotated[str | None, typer.Option(metavar="TIME", help="Begin after a while: 5m.")]
At = Annotated[
    str | None, typer.Option(metavar="TIME", help="Begin not before a time: 2026-01-31T09:00.")
]
Deadline = Annotated[
    str | None, typer.Option(metavar="TIME", help="Fail it when it has not ended in a while: 1h.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end and print the result.")]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    daemon_command(app, "start")(start)


def start(  # noqa: PLR0913 - one parameter for each option
    door: Door,
    tenant: TenantArgument,
    workflow: WorkflowArgument,
    input: Input = "{}",
    key: Key = None,
    queue: Queue = None,
    priority: Priority = 0,
    tag: Tags = None,
    delay: Delay = None,
    at: At = None,
    deadline: Deadline = None,
    wait: Wait = False,
) -> int:
    """Start a run and print its id. With --wait the result too, and exit 1 if it failed.

    Example: insula run start acme_corp monthly_report --input '{"month": 1}' --wait
    """
    if delay and at:
        raise typer.BadParameter("give one of --delay and --at", param_hint="--at")
    content = values.read_input(input)
    when = {
        "delay": values.checked_duration(delay, "--delay"),
        "at": values.read_time(at, "--at"),
        "deadline": values.checked_duration(deadline, "--deadline"),
    }
    options: dict[str, Any] = {"key": key, "queue": queue, "priority": priority, **when}
    options["tags"] = tag or []
    with door.open() as client:
        run = client.tenant(tenant).start(workflow, content, **options)
        if not wait:
            print_started(door, run)
            return DONE
        if not door.json:
            typer.echo(str(run.id))
        view = follow(client, tenant, run.id)
    return _print_result(door, tenant, view)


def print_started(door: Door, run: SyncRunHandle) -> None:
    """Print the id of a run that was just started."""
    if door.json:
        output.document({"id": run.id, "state": run.state, "known": run.known})
        return
    typer.echo(str(run.id))
    if run.known:
        output.say(f"the key was known: this is the run it gave before, {run.state}")


def _print_result(door: Door, tenant: str, view: RunView) -> int:
    if door.json:
        output.document(view)
    else:
        typer.echo(output.pretty({"output": view.output, "context": view.context}))
    if view.state is RunState.SUCCEEDED:
        output.say(f"succeeded in {output.line(took(view.created_at, view.finished_at))}")
        return DONE
    output.error("run_failed", _failure(view), hint=f"insula run show {tenant} {view.id}")
    return FAILED


def _failure(view: RunView) -> str:
    if view.error is None:
        return f"the run ended {view.state}"
    task = f"task {view.error.task}: " if view.error.task else ""
    return f"{task}{view.error.type}: {view.error.message}"
