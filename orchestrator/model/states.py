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

    finished: bool
    """True when the run can never move again by itself."""

    over: bool
    """True when no attempt may do anything more: finished, or blocked until somebody helps."""

    def __init__(self, text: str) -> None:
        self.finished = text in {"succeeded", "failed", "cancelled", "dead"}
        self.over = self.finished or text == "blocked"


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

    settled: bool
    """True when no attempt at the task will follow."""

    def __init__(self, text: str) -> None:
        self.settled = text in {"succeeded", "failed", "skipped", "cancelled"}
