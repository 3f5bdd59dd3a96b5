"""One live run in memory: the fold of its journal, and what of it is not yet durable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

import msgspec

from orchestrator.engine import entries
from orchestrator.engine.entries import AnyEntry, AnyTaskEntry
from orchestrator.engine.plan import Plan, plan
from orchestrator.model.api import Failure
from orchestrator.model.states import RunState, TaskState
from orchestrator.store.tenant.journal import ChangedRun, Logged, NewRun
from orchestrator.workflow.define import Workflow

NULL = msgspec.Raw(b"null")


class TaskProgress:
    """Where one task of a run stands."""

    __slots__ = ("attempt", "due_at", "error", "failures", "output", "state", "values")

    def __init__(self) -> None:
        self.state = TaskState.WAITING
        self.attempt = 0
        self.failures = 0
        self.output: msgspec.Raw = NULL
        self.values = entries.NOTHING
        self.error: Failure | None = None
        self.due_at: datetime | None = None

    def fail(self, error: Failure, state: TaskState) -> None:
        """Count a failed attempt; `state` says whether another follows."""
        self.state = state
        self.error = error
        self.failures += 1


class Outputs(Mapping[str, Any]):
    """Outputs by task, decoded afresh at each look: no task can change what another sees."""

    def __init__(self, encoded: Mapping[str, msgspec.Raw]) -> None:
        self._encoded = encoded

    def __getitem__(self, name: str) -> Any:
        return msgspec.json.decode(self._encoded[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._encoded)

    def __len__(self) -> int:
        return len(self._encoded)


class Execution:
    """A run that this supervisor holds.

    `record` applies an entry and queues it for the next flush; `on_durable` queues what may happen
    only after the flush that carries everything recorded so far has committed.
    """

    __slots__ = (
        "_dirty",
        "_effects",
        "_new",
        "_pending",
        "_seq",
        "error",
        "id",
        "input",
        "queue",
        "shape",
        "state",
        "tasks",
        "workflow",
    )

    def __init__(self, run_id: UUID, workflow: Workflow, run_input: str, queue: str) -> None:
        self.id = run_id
        self.workflow = workflow
        self.input = run_input
        self.queue = queue
        self.state = RunState.QUEUED
        self.error: Failure | None = None
        self.shape: str | None = None
        self.tasks = {name: TaskProgress() for name in workflow.graph.order}
        self._seq = 0
        self._pending: list[AnyEntry] = []
        self._effects: list[Callable[[], None]] = []
        self._new: NewRun | None = None
        self._dirty = False

    def add(self, new: NewRun) -> None:
        """Make the run's row part of the next flush."""
        self._new = new

    def record(self, entry: AnyEntry) -> None:
        """Apply `entry` and queue it for the next flush."""
        before = self.state
        self.apply(entry)
        self._pending.append(entry)
        self._dirty = self._dirty or self.state is not before or isinstance(entry, _WITH_ROW)

    def on_durable(self, effect: Callable[[], None]) -> None:
        """Call `effect` once everything recorded so far is committed."""
        self._effects.append(effect)

    def replay(self, first: int, text: str) -> None:
        """Apply entries read back from the journal; `first` is the number of the first one.

        Raises ValueError when the journal has a gap: nothing is guessed.
        """
        if first != self._seq:
            raise ValueError(f"run {self.id}: entry {self._seq} is missing, found {first}")
        found = entries.decode(text)
        self._seq += len(found)
        for entry in found:
            self.apply(entry)

    def apply(self, entry: AnyEntry) -> None:
        """Let one entry change the state: the only function that does."""
        match entry:
            case entries.RunStarted(shape=shape):
                self.state = RunState.RUNNING
                self.shape = shape
            case entries.RunRecovered(lost=lost):
                for name in lost:
                    self.tasks[name].state = TaskState.READY
                self.state = self._under_way()
            case entries.RunSucceeded():
                self.state = RunState.SUCCEEDED
            case entries.RunFailed(error=error):
                self.state = RunState.FAILED
                self.error = error
            case _:
                self._apply_to_task(entry)
                self.state = self._under_way()

    def _apply_to_task(self, entry: AnyTaskEntry) -> None:
        task = self.tasks[entry.task]
        match entry:
            case entries.TaskStarted(attempt=attempt):
                task.state = TaskState.RUNNING
                task.attempt = attempt
                task.due_at = None
            case entries.TaskSucceeded(output=output, values=values):
                task.state = TaskState.SUCCEEDED
                task.output = output
                task.values = values
            case entries.TaskRetrying(error=error, due_at=due_at):
                task.fail(error, TaskState.RETRYING)
                task.due_at = due_at
            case entries.TaskFailed(error=error):
                task.fail(error, TaskState.FAILED)
            case entries.TaskSkipped():
                task.state = TaskState.SKIPPED
            case _:
                assert_never(entry)

    def _under_way(self) -> RunState:
        """Tell a run that works from one that only rests until a retry is due.

        What waits for a slot does not count: no entry tells it, so a new owner would not know.
        """
        states = {task.state for task in self.tasks.values()}
        rests = TaskState.RETRYING in states and TaskState.RUNNING not in states
        return RunState.WAITING if rests else RunState.RUNNING

    def next(self) -> Plan:
        """Return what may start, what never will, and whether the run is through."""
        states = {name: task.state for name, task in self.tasks.items()}
        return plan(self.workflow.graph, self.workflow.rules, states)

    @property
    def started(self) -> bool:
        """True once a supervisor took the run up."""
        return self.shape is not None

    @property
    def mismatch(self) -> str | None:
        """Why the code here can not continue the run, or None when it can."""
        if self.shape in (None, self.workflow.graph.shape):
            return None
        return (
            f"the tasks of workflow {self.workflow.name!r} changed under version "
            f"{self.workflow.version!r}; give the changed workflow a new version"
        )

    @property
    def next_due(self) -> datetime | None:
        """When the earliest resting task may be tried again."""
        return min((t.due_at for t in self.tasks.values() if t.due_at is not None), default=None)

    @property
    def first_failure(self) -> Failure | None:
        """The error of the first task, in topological order, that failed for good."""
        failed = (t.error for t in self.tasks.values() if t.state is TaskState.FAILED)
        return next(failed, None)

    def values_before(self, name: str) -> dict[str, Any]:
        """Return the context task `name` sees: the input, then what its ancestors set, in order."""
        return self._merge(self.workflow.graph.ancestors[name])

    def outputs_before(self, name: str) -> Mapping[str, Any]:
        """Return the outputs of all ancestors of task `name`, each decoded when it is asked for."""
        return Outputs({up: self.tasks[up].output for up in self.workflow.graph.ancestors[name]})

    def output(self) -> bytes:
        """Return the run's output as JSON: of its only sink, else each sink's by name."""
        sinks = self.workflow.graph.sinks
        if len(sinks) == 1:
            return bytes(self.tasks[sinks[0]].output)
        return msgspec.json.encode({name: self.tasks[name].output for name in sinks})

    def drain(self) -> tuple[NewRun | None, ChangedRun | None, Logged | None]:
        """Take what the next flush has to write of this run."""
        new, self._new = self._new, None
        changed = self._row() if self._dirty and new is None else None
        self._dirty = False
        logged = None
        if self._pending:
            logged = Logged(self.id, self._seq, entries.encode(self._pending), new is not None)
            self._seq += len(self._pending)
            self._pending = []
        if new is not None:
            new = msgspec.structs.replace(new, state=self.state)
        return new, changed, logged

    def effects(self) -> list[Callable[[], None]]:
        """Take what waits for the flush that `drain` was called for."""
        effects, self._effects = self._effects, []
        return effects

    def refuse(self, logged: Logged | None) -> None:
        """Take back a flush that the database would not store; what follows takes its numbers."""
        if logged is not None:
            self._seq = logged.seq
        self._pending = []
        self._effects = []

    def park(self, reason: str) -> None:
        """Leave the run as it is, blocked, with the reason; its journal is not touched."""
        self.state = RunState.BLOCKED
        self.error = Failure(type="WorkflowChanged", message=reason)
        self._pending = []
        self._dirty = True

    def _row(self) -> ChangedRun:
        finished = self.state.finished
        succeeded = self.state is RunState.SUCCEEDED
        return ChangedRun(
            id=self.id,
            state=self.state,
            output=self.output().decode() if succeeded else None,
            context=self._final_context() if finished else None,
            error=msgspec.json.encode(self.error).decode() if self.error else None,
            due_at=self.next_due if self.state is RunState.WAITING else None,
            finished=finished,
        )

    def _final_context(self) -> str:
        if all(task.values is entries.NOTHING for task in self.tasks.values()):
            return self.input
        return msgspec.json.encode(self._merge(self.workflow.graph.order)).decode()

    def _merge(self, names: tuple[str, ...]) -> dict[str, Any]:
        merged: dict[str, Any] = msgspec.json.decode(self.input)
        for name in names:
            values = self.tasks[name].values
            if values is not entries.NOTHING:
                merged.update(msgspec.json.decode(values))
        return merged


_WITH_ROW = (entries.RunRecovered, entries.TaskRetrying)
