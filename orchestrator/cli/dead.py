"""`dead`: the runs that failed for good, until somebody replays or discards them."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import output
from orchestrator.cli.arguments import RunArgument, TenantArgument
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.cli.exit import DONE, FAILED
from orchestrator.cli.run.show import COMMON, Limit, print_run, print_runs, read_pages
from orchestrator.model.api import DeadReport
from orchestrator.model.errors import RunConflict
from orchestrator.model.states import RunState

RunArguments = Annotated[
    list[str] | None, typer.Argument(metavar="RUN", help="Their ids, as `list` prints them.")
]
All = Annotated[
    bool, typer.Option("--all", help="Instead of ids: all of them, the oldest thousand at a time.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    daemon_command(app, "list")(list_dead)
    daemon_command(app, "show")(show)
    daemon_command(app, "replay")(replay)
    daemon_command(app, "discard")(discard)


def list_dead(door: Door, tenant: TenantArgument, limit: Limit = 50) -> None:
    """List the runs that failed or kept crashing the process, newest first.

    Example: insula dead list acme_corp
    """
    with door.open() as client:
        found = read_pages(client.tenant(tenant).dead, limit)
    columns = {**COMMON, "finished": lambda run: run.finished_at}
    print_runs(door, found, columns, nothing="no dead letters")


def show(door: Door, tenant: TenantArgument, run: RunArgument) -> None:
    """Show everything about a dead letter: its tasks, times, input and error.

    Example: insula dead show acme_corp RUN
    """
    with door.open() as client:
        view = client.tenant(tenant).run(run)
    if view.state not in {RunState.FAILED, RunState.DEAD}:
        raise RunConflict(
            f"run {view.id} is {view.state}, so it is no dead letter",
            hint=f"insula run show {tenant} {view.id}",
        )
    print_run(door, view)


def replay(
    door: Door, tenant: TenantArgument, runs: RunArguments = None, every: All = False
) -> int:
    """Let dead letters go on: the tasks that have not succeeded start again.

    Example: insula dead replay acme_corp --all
    """
    wanted = _wanted(runs, every=every)
    with door.open() as client:
        report = client.tenant(tenant).replay(wanted)
    return _print_report(door, report, "replayed")


def discard(
    door: Door, tenant: TenantArgument, runs: RunArguments = None, every: All = False
) -> int:
    """Give dead letters up. They are not listed here any more, but stay readable as runs.

    Example: insula dead discard acme_corp RUN
    """
    wanted = _wanted(runs, every=every)
    with door.open() as client:
        report = client.tenant(tenant).discard(wanted)
    return _print_report(door, report, "discarded")


def _wanted(runs: list[str] | None, *, every: bool) -> list[str] | None:
    if bool(runs) == every:
        raise typer.BadParameter("give the runs, or --all", param_hint="RUN")
    return runs or None


def _print_report(door: Door, report: DeadReport, done: str) -> int:
    if door.json:
        output.document(report)
    else:
        for run in report.done:
            typer.echo(str(run))
        left = f"; {report.left} left" if report.left else ""
        output.say(f"{done} {len(report.done)}{left}")
    for refused in report.refused:
        output.say(f"error[{refused.code}]: {output.line(refused.detail)}")
    return FAILED if report.refused else DONE
