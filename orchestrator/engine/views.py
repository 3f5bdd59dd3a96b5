"""What people read of a run: its row and its journal, folded without the workflow's code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from orchestrator.engine import entries
from orchestrator.model.api import EventView, Failure, RunPage, RunSummary, RunView, TaskView
from orchestrator.model.states import RunState, TaskState
from orchestrator.store.tenant.runs import Listed, Moment, Stored
from orchestrator.workflow.registry import Registry

_ASKED_FOR = (
    entries.RunCancelled,
    entries.RunPaused,
    entries.RunResumed,
    entries.RunRetried,
)


def page_of(listed: Sequence[Listed], limit: int) -> RunPage:
    """Return a page; a full one may have another after it."""
    runs = [_summary(run) for run in listed]
    return RunPage(runs=runs, cursor=str(runs[-1].id) if len(runs) == limit else None)


def view_of(run: Stored, history: Sequence[Moment], registry: Registry) -> RunView:
    """Return everything about one run.

    The tasks come in the order of the workflow where it is served here.
    """
    workflow = registry.workflows.get((run.workflow, run.version))
    tasks = {name: TaskView(name=name, state=TaskState.WAITING) for name in _order(workflow)}
    reason = ""
    for moment in history:
        for entry in entries.decode(moment.entries):
            _apply(tasks, entry, moment)
            reason = entry.reason if isinstance(entry, _ASKED_FOR) else reason
    summary = _summary(run)
    return RunView(
        **{name: getattr(summary, name) for name in RunSummary.__struct_fields__},
        input=msgspec.json.decode(run.input),
        output=_json(run.output),
        context=_json(run.context),
        error=None if run.error is None else msgspec.json.decode(run.error, type=Failure),
        tags=run.tags,
        tasks=list(tasks.values()),
        reason=reason,
        due_at=run.due_at,
        deadline_at=run.deadline_at,
    )


def events_of(history: Sequence[Moment], after: int) -> list[EventView]:
    """Return the events with a number above `after`."""
    return [
        EventView(
            number=moment.seq + offset,
            at=moment.at,
            epoch=moment.epoch,
            node=moment.node,
            event=entry,
        )
        for moment in history
        for offset, entry in enumerate(msgspec.json.decode(moment.entries))
        if moment.seq + offset > after
    ]


def _order(workflow: Any) -> Sequence[str]:
    return () if workflow is None else workflow.graph.order


def _apply(tasks: dict[str, TaskView], entry: entries.AnyEntry, moment: Moment) -> None:
    match entry:
        case entries.RunRecovered(lost=names):
            _change_all(tasks, names, state=TaskState.READY)
        case entries.RunRetried(tasks=names):
            _change_all(tasks, names, state=TaskState.WAITING, error=None, finished_at=None)
        case entries.TaskStarted(attempt=attempt):
            now = moment.at
            fields = {"state": TaskState.RUNNING, "attempt": attempt, "started_at": now}
            _change(tasks, entry.task, **fields, due_at=None)
        case entries.TaskParked(due_at=due_at):
            _change(tasks, entry.task, state=TaskState.PARKED, due_at=due_at)
        case entries.TaskResumed():
            _change(tasks, entry.task, state=TaskState.RUNNING, due_at=None)
        case entries.TaskRetrying(error=error, due_at=due_at):
            _change(tasks, entry.task, state=TaskState.RETRYING, error=error, due_at=due_at)
        case entries.TaskSucceeded() | entries.TaskFailed() | entries.TaskSkipped():
            _settle(tasks, entry, moment)
        case entries.RunCancelled() | entries.RunFailed() | entries.RunDied():
            _cut_off(tasks, moment)
        case _:
            pass


def _settle(tasks: dict[str, TaskView], entry: entries.AnySettling, moment: Moment) -> None:
    match entry:
        case entries.TaskSucceeded(output=output):
            fields = {"state": TaskState.SUCCEEDED, "output": msgspec.json.decode(output)}
        case entries.TaskFailed(error=error):
            fields = {"state": TaskState.FAILED, "error": error}
        case _:
            fields = {"state": TaskState.SKIPPED}
    _change(tasks, entry.task, **fields, finished_at=moment.at)


def _cut_off(tasks: dict[str, TaskView], moment: Moment) -> None:
    """Show that nothing follows for the tasks that were on their way when their run ended."""
    for name, task in tasks.items():
        if not task.state.settled:
            ended = moment.at if task.started_at is not None else None
            _change(tasks, name, state=TaskState.CANCELLED, finished_at=ended, due_at=None)


def _change_all(tasks: dict[str, TaskView], names: Sequence[str], **fields: Any) -> None:
    for name in names:
        _change(tasks, name, **fields)


def _change(tasks: dict[str, TaskView], name: str, **fields: Any) -> None:
    before = tasks.get(name) or TaskView(name=name, state=TaskState.WAITING)
    tasks[name] = msgspec.structs.replace(before, **fields)


def _summary(run: Listed) -> RunSummary:
    fields = {name: getattr(run, name) for name in Listed.__struct_fields__}
    return RunSummary(**{**fields, "state": RunState(run.state)})


def _json(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
