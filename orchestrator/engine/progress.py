"""Where one task of a run stands, and what it has done durably so far."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never
from uuid import UUID

import msgspec

from orchestrator.engine import entries
from orchestrator.engine.entries import AnyStepEntry
from orchestrator.model.api import Failure
from orchestrator.model.states import TaskState

NULL = msgspec.Raw(b"null")


class Step:
    """One durable call inside a task, by its place in the order of calls.

    `done` when it needs not be made again; `value` is its JSON result, `error` what it raises
    instead. `items` holds the results of a map by item.
    """

    __slots__ = ("child", "done", "due_at", "error", "items", "kind", "missed", "name", "value")

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name
        self.done = False
        self.missed = False
        self.value: msgspec.Raw = NULL
        self.error: Failure | None = None
        self.due_at: datetime | None = None
        self.child: UUID | None = None
        self.items: dict[int, msgspec.Raw] = {}


class TaskProgress:
    """Where one task of a run stands. `steps` is None until it makes its first durable call."""

    __slots__ = (
        "attempt",
        "crashes",
        "due_at",
        "error",
        "failures",
        "output",
        "state",
        "steps",
        "values",
        "wait",
    )

    def __init__(self) -> None:
        self.state = TaskState.WAITING
        self.attempt = 0
        self.failures = 0
        self.crashes = 0
        self.output: msgspec.Raw = NULL
        self.values: msgspec.Raw = entries.NOTHING
        self.error: Failure | None = None
        self.due_at: datetime | None = None
        self.wait: entries.TaskParked | None = None
        self.steps: list[Step] | None = None

    @property
    def rested(self) -> bool:
        """True from when the task began to rest until it runs again."""
        return self.due_at is not None or self.wait is not None

    def fail(self, error: Failure, state: TaskState) -> None:
        """Count a failed attempt; `state` says whether another follows."""
        self.state = state
        self.error = error
        self.failures += 1

    def reset(self) -> None:
        """Forget everything but the number of the last attempt: the task starts afresh."""
        attempt = self.attempt
        self.__init__()  # type: ignore[misc]  # the same object stays in the run's table
        self.attempt = attempt

    def step(self, number: int) -> Step | None:
        """Return the durable call at that place, if it was ever made."""
        steps = self.steps
        return steps[number] if steps is not None and number < len(steps) else None

    def apply(self, entry: AnyStepEntry) -> None:
        """Let one durable call change the memory of the task."""
        match entry:
            case entries.StepDone(step=number, name=name, value=value):
                self._finish(self._at(number, "step", name), value)
            case entries.SleepSet(step=number, due_at=due_at):
                self._at(number, "sleep", "").due_at = due_at
            case entries.SignalAwaited(step=number, name=name, due_at=due_at):
                self._at(number, "signal", name).due_at = due_at
            case entries.SignalTaken(step=number, name=name, payload=payload):
                self._finish(self._at(number, "signal", name), payload)
            case entries.SignalMissed(step=number, name=name):
                step = self._at(number, "signal", name)
                step.done = step.missed = True
            case entries.ItemDone(step=number, name=name, item=item, value=value):
                self._at(number, "map", name).items[item] = value
            case entries.ChildStarted() | entries.ChildEnded():
                self._apply_to_child(entry)
            case _:
                assert_never(entry)

    def _apply_to_child(self, entry: entries.ChildStarted | entries.ChildEnded) -> None:
        if isinstance(entry, entries.ChildStarted):
            step = self._at(entry.step, "child", entry.workflow)
            step.child = entry.child
            step.done = True
        else:
            step = self._at(entry.step, "wait", str(entry.child))
            step.error = entry.error
            self._finish(step, entry.output)

    def _finish(self, step: Step, value: msgspec.Raw) -> None:
        step.value = value
        step.done = True

    def _at(self, number: int, kind: str, name: str) -> Step:
        """Return the call at that place, made now if need be.

        Concurrent calls may end out of order.
        """
        if self.steps is None:
            self.steps = []
        while len(self.steps) <= number:
            self.steps.append(Step("", ""))
        step = self.steps[number]
        step.kind, step.name = kind, name
        return step
