"""The states of runs and tasks."""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"
    BLOCKED = "blocked"

    @property
    def finished(self) -> bool:
        """True when the run can never move again by itself."""
        return self in _FINISHED_RUNS


class TaskState(StrEnum):
    """Where a task of a run stands."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    RETRYING = "retrying"
    PARKED = "parked"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def settled(self) -> bool:
        """True when no attempt at the task will follow."""
        return self in SETTLED


_FINISHED_RUNS = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.DEAD})
SETTLED = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED})
