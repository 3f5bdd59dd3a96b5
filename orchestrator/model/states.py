"""The states of runs and tasks.

Modules that look at one in every step name it once, `_READY = TaskState.READY`: a member of an enum
is found by its metaclass, which takes Python 3.11 ten times as long as a name of the module, and a
step asks some 35 times.
"""

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
