"""What is recorded when an attempt, or the time for all attempts at a task, ends."""

from __future__ import annotations

from orchestrator.engine.entries import TaskFailed, TaskSucceeded
from orchestrator.engine.execution import Execution
from orchestrator.engine.outcome import Attempt, Succeeded
from orchestrator.engine.progress import NULL
from orchestrator.model.api import Failure


def failed_attempt(execution: Execution, name: str) -> Attempt:
    """Return which attempt at a task has failed now."""
    task = execution.tasks[name]
    return Attempt(name, task.attempt, task.failures + 1, task.ends_at)


def success(
    execution: Execution, name: str, result: Succeeded, *, allowed: int | None
) -> TaskSucceeded:
    """Return the entry of an attempt that succeeded; an output over `allowed` is left out."""
    size = len(bytes(result.output))
    kept = allowed is None or size <= allowed
    return TaskSucceeded(
        task=name,
        attempt=execution.tasks[name].attempt,
        output=result.output if kept else NULL,
        values=result.values,
        dropped_bytes=0 if kept else size,
    )


def out_of_time(execution: Execution, name: str) -> TaskFailed:
    """Return the entry of a task whose time for all attempts is over."""
    within = execution.workflow.tasks[name].retry.within
    message = f"the task took longer than {within} over all its attempts"
    error = Failure(type="DeadlineExceeded", message=message, task=name)
    return TaskFailed(task=name, attempt=execution.tasks[name].attempt, error=error)
