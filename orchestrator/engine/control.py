"""What people do to runs, decided from where a run stands. Pure."""

from __future__ import annotations

from enum import StrEnum

from orchestrator.engine import entries
from orchestrator.engine.execution import Execution
from orchestrator.model.errors import RunConflict
from orchestrator.model.states import RunState, TaskState


class Verb(StrEnum):
    """What can be done to one run."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"


def decide(verb: Verb, run: Execution, *, reason: str = "") -> entries.AnyRunEntry | None:
    """Return what to record for `verb`; None when the run is there already.

    Raises RunConflict when the run's state does not allow it: a finished run never moves again,
    but a failed or dead one can be retried.
    """
    match verb:
        case Verb.CANCEL:
            if run.state is RunState.CANCELLED:
                return None
            _refuse_finished(verb, run)
            return entries.RunCancelled(reason=reason)
        case Verb.PAUSE:
            _refuse_finished(verb, run)
            return None if run.paused else entries.RunPaused(reason=reason)
        case Verb.RESUME:
            _refuse_finished(verb, run)
            return entries.RunResumed(reason=reason) if run.paused else None
        case Verb.RETRY:
            return _retry(run, reason)


def prefix(run: Execution, task: str | None) -> list[entries.TaskSucceeded]:
    """Return what a repetition of `run` from `task` on (None: as a whole) need not do again.

    Raises RunConflict when the task is unknown or something before it has not succeeded.
    """
    graph = run.workflow.graph
    if task is None:
        return []
    if task not in run.tasks:
        raise RunConflict(
            f"workflow {run.workflow.name!r} has no task {task!r}",
            hint=f"its tasks: {', '.join(graph.order)}",
        )
    if run.mismatch is not None:
        raise RunConflict(run.mismatch)
    again = {task, *(name for name in graph.order if task in graph.ancestors[name])}
    kept = [name for name in graph.order if name not in again]
    missing = [n for n in graph.ancestors[task] if run.tasks[n].state is not TaskState.SUCCEEDED]
    if missing:
        raise RunConflict(f"task {missing[0]!r}, which comes before {task!r}, has not succeeded")
    return [
        entries.TaskSucceeded(task=n, attempt=t.attempt, output=t.output, values=t.values)
        for n in kept
        if (t := run.tasks[n]).state is TaskState.SUCCEEDED
    ]


def _retry(run: Execution, reason: str) -> entries.RunRetried:
    if run.state not in (RunState.FAILED, RunState.DEAD):
        raise RunConflict(
            f"run {run.id} is {run.state}; only a failed or dead run can be retried",
            hint="start a new run with the same input instead",
        )
    graph = run.workflow.graph
    failed = {n for n, t in run.tasks.items() if t.state is not TaskState.SUCCEEDED}
    after = {n for n in graph.order if failed & set(graph.ancestors[n])}
    tasks = [n for n in graph.order if n in failed | after]
    return entries.RunRetried(tasks=tasks, reason=reason)


def _refuse_finished(verb: Verb, run: Execution) -> None:
    if run.state.finished:
        raise RunConflict(f"run {run.id} is {run.state} already; it can not be {_DONE[verb]}")


_DONE = {Verb.CANCEL: "cancelled", Verb.PAUSE: "paused", Verb.RESUME: "resumed"}
