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

_WAITING = TaskState.WAITING  # see `model.states`

NULL = msgspec.Raw(b"null")

Place = tuple[int, int]
"""Of a durable call in its task: the branch and the number in it."""


class Step:
    """One durable call inside a task, by its place among them.

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
        "ends_at",
        "error",
        "failures",
        "output",
        "state",
        "steps",
        "values",
        "wait",
    )

    def __init__(self) -> None:
        self.state = _WAITING
        self.attempt = 0
        self.failures = 0
        self.crashes = 0
        self.output: msgspec.Raw = NULL
        self.values: msgspec.Raw = entries.NOTHING
        self.error: Failure | None = None
        self.due_at: datetime | None = None
        self.ends_at: datetime | None = None
        self.wait: entries.TaskParked | None = None
        self.steps: dict[Place, Step] | None = None

    @property
    def rested(self) -> bool:
        """True from when the task began to rest until it runs again."""
        return self.due_at is not None or self.wait is not None

    def fail(self, error: Failure, state: TaskState) -> None:
        """Count a failed attempt; `state` says whether another follows.

        Crashes count in a row: an attempt that ended, however, has not taken the process with it.
        """
        self.state = state
        self.error = error
        self.failures += 1
        self.crashes = 0

    def reset(self) -> None:
        """Forget everything but the number of the last attempt: the task starts afresh."""
        attempt = self.attempt
        self.__init__()  # type: ignore[misc]  # the same object stays in the run's table
        self.attempt = attempt

    def step(self, place: Place) -> Step | None:
        """Return the durable call at that place, if it was ever made."""
        return None if self.steps is None else self.steps.get(place)

    def apply(self, entry: AnyStepEntry) -> None:
        """Let one durable call change the memory of the task."""
        match entry:
            case entries.StepDone(name=name, value=value):
                self._finish(self._at(entry, "step", name), value)
            case entries.SleepSet(due_at=due_at):
                self._at(entry, "sleep", "").due_at = due_at
            case entries.SignalAwaited(name=name, due_at=due_at):
                self._at(entry, "signal", name).due_at = due_at
            case entries.SignalTaken(name=name, payload=payload):
                self._finish(self._at(entry, "signal", name), payload)
            case entries.SignalMissed(name=name):
                step = self._at(entry, "signal", name)
                step.done = step.missed = True
            case entries.ItemDone(name=name, item=item, value=value):
                self._at(entry, "map", name).items[item] = value
            case entries.ChildStarted(child=child, workflow=workflow):
                step = self._at(entry, "child", workflow)
                step.child, step.done = child, True
            case entries.ChildEnded(child=child, output=output, error=error):
                step = self._at(entry, "wait", str(child))
                step.error = error
                self._finish(step, output)
            case _:
                assert_never(entry)

    def _finish(self, step: Step, value: msgspec.Raw) -> None:
        step.value = value
        step.done = True

    def _at(self, entry: AnyStepEntry, kind: str, name: str) -> Step:
        if self.steps is None:
            self.steps = {}
        place = entry.branch, entry.step
        if place not in self.steps:
            self.steps[place] = Step(kind, name)
        return self.steps[place]
