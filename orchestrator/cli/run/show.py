"""`run list|show`: what is known of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any

import typer

from orchestrator.cli import output, values
from orchestrator.cli.arguments import RunArgument, TenantArgument
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.model.api import Failure, RunPage, RunSummary, RunView, TaskView
from orchestrator.model.states import RunState
from orchestrator.model.text import block

Columns = Mapping[str, Callable[[RunSummary], object]]
"""What a list of runs shows: the value of a run for each heading."""

PAGE = 1000
TRACEBACK_LINES = 30

State = Annotated[RunState | None, typer.Option(help="Only runs in that state.")]
WorkflowOption = Annotated[
    str | None, typer.Option(metavar="WORKFLOW", help="Only runs of that workflow.")
]
Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Only runs created since: 2h, or a time.")
]
Limit = Annotated[int, typer.Option(metavar="N", min=1, help="At most so many, newest first.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    daemon_command(app, "list")(list_runs)
    daemon_command(app, "show")(show)


def list_runs(
    door: Door,
    tenant: TenantArgument,
    state: State = None,
    workflow: WorkflowOption = None,
    since: Since = None,
    limit: Limit = 50,
) -> None:
    """List a tenant's runs, newest first.

    Example: insula run list acme_corp --state failed --since 2h
    """
    filters: dict[str, Any] = {"state": state, "workflow": workflow}
    filters["since"] = values.read_moment(since, "--since") if since else None
    with door.open() as client:
        found = read_pages(partial(client.tenant(tenant).runs, **filters), limit)
    print_runs(door, found, _COLUMNS, nothing="no runs")


def show(door: Door, tenant: TenantArgument, run: RunArgument) -> None:
    """Show everything about one run: its tasks, times, result and error.

    Example: insula run show acme_corp RUN
    """
    with door.open() as client:
        view = client.tenant(tenant).run(run)
    print_run(door, view)
    if view.state is RunState.QUEUED and view.due_at is None and not door.json:
        whose = output.line(tenant)
        output.say(f"hint: it has not begun; insula tenant why {whose} tells what it waits for")


def print_run(door: Door, view: RunView) -> None:
    """Print everything about one run."""
    if door.json:
        output.document(view)
        return
    output.fields(_run_fields(view))
    if view.tasks:
        typer.echo()
        headings = ["task", "state", "attempt", "started", "took", "error"]
        output.table(headings, [_task_row(task) for task in view.tasks])
    for name, value in (("input", view.input), ("output", view.output), ("context", view.context)):
        if value not in (None, {}):
            typer.echo(f"\n{name}\n{output.pretty(value)}")
    if view.error is not None:
        typer.echo(f"\nerror\n{_traceback(view.error)}")


def read_pages(read: Callable[..., RunPage], limit: int) -> tuple[list[RunSummary], bool]:
    """Return at most `limit` runs from as many pages as it takes, and whether there are more."""
    page = read(limit=min(limit, PAGE))
    runs = page.runs
    while page.cursor is not None and len(runs) < limit:
        page = read(limit=min(limit - len(runs), PAGE), cursor=page.cursor)
        runs = runs + page.runs
    return runs, page.cursor is not None


def print_runs(
    door: Door, found: tuple[list[RunSummary], bool], columns: Columns, *, nothing: str
) -> None:
    """Print what `read_pages` found, a line for each run, or the sentence that there is nothing."""
    runs, more = found
    if door.json:
        output.document({"runs": runs, "more": more})
        return
    if runs:
        rows = [[value(run) for value in columns.values()] for run in runs]
        output.table(list(columns), rows)
    else:
        output.say(nothing)
    if more:
        output.say(f"there are more than {len(runs)}; raise --limit")


def _run_fields(view: RunView) -> list[tuple[str, object]]:
    return [
        ("run", view.id),
        ("workflow", f"{view.workflow} (version {view.version})"),
        ("state", view.state),
        ("reason", view.reason),
        ("queue", view.queue),
        ("priority", view.priority or None),
        ("key", view.key),
        ("tags", view.tags),
        ("created", view.created_at),
        ("due", view.due_at),
        ("deadline", view.deadline_at),
        ("started", view.started_at),
        ("finished", view.finished_at),
        ("took", took(view.started_at, view.finished_at)),
    ]


def _task_row(task: TaskView) -> tuple[object, ...]:
    error = f"{task.error.type}: {task.error.message}" if task.error else None
    length = took(task.started_at, task.finished_at)
    return (task.name, task.state, task.attempt, task.started_at, length, error)


def took(start: datetime | None, end: datetime | None) -> timedelta | None:
    """Return how long something took; None while one of the times is not known."""
    return end - start if start and end else None


def _traceback(error: Failure) -> str:
    lines = block(error.traceback or f"{error.type}: {error.message}").rstrip().split("\n")
    if len(lines) > TRACEBACK_LINES:
        # The end tells what happened; the beginning, who called.
        left_out = len(lines) - TRACEBACK_LINES
        lines = [f"({left_out} lines before)", *lines[-TRACEBACK_LINES:]]
    if error.task:
        lines.insert(0, f"in task {output.line(error.task)}")
    return "\n".join(lines)


COMMON: Columns = {
    "run": lambda run: run.id,
    "workflow": lambda run: run.workflow,
    "state": lambda run: run.state,
    "queue": lambda run: run.queue,
    "created": lambda run: run.created_at,
}
_COLUMNS: Columns = {
    **COMMON,
    "took": lambda run: took(run.started_at, run.finished_at),
    "key": lambda run: run.key,
}
