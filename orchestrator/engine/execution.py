"""One live run in memory: the fold of its journal, and what of it is not yet durable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

import msgspec

from orchestrator.engine import entries
from orchestrator.engine.entries import (
    AnyEnding,
    AnyEntry,
    AnyRunEntry,
    AnyStepEntry,
    AnyTaskEntry,
)
from orchestrator.engine.meter import ENDS, Meter
from orchestrator.engine.outcome import describe
from orchestrator.engine.plan import Plan, plan
from orchestrator.engine.progress import TaskProgress
from orchestrator.model.api import Failure
from orchestrator.model.states import RunState, TaskState
from orchestrator.store.tenant.journal import ChangedRun, Fired, Logged, NewRun
from orchestrator.store.tenant.runs import Claimed, RunEnd, Signal
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.durable import OnClose

# Names for what every step asks: see `model.states`.
_QUEUED, _RUNNING, _SUCCEEDED = RunState.QUEUED, RunState.RUNNING, RunState.SUCCEEDED
_TASK_RUNNING, _TASK_SUCCEEDED = TaskState.RUNNING, TaskState.SUCCEEDED


class Outputs(Mapping[str, Any]):
    """Outputs by task, decoded at each look, so that no task can change what another sees."""

    def __init__(self, encoded: Mapping[str, msgspec.Raw]) -> None:
        self.encoded = encoded

    def __getitem__(self, name: str) -> Any:
        return msgspec.json.decode(self.encoded[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.encoded)

    def __len__(self) -> int:
        return len(self.encoded)


class Drained(msgspec.Struct, frozen=True):
    """What one flush writes of one run, and what may happen once it has committed.

    `more` when the next flush has to write the rest.
    """

    new: NewRun | None
    changed: ChangedRun | None
    logged: Logged | None
    children: list[NewRun]
    taken: list[tuple[UUID, UUID]]
    nudged: UUID | None
    effects: list[Callable[[], None]]
    fired: Fired | None = None
    more: bool = False
    ended: list[int] | None = None


class Execution:
    """A run that this supervisor holds.

    `record` applies an entry and queues it for the next flush; `on_durable` queues what may happen
    only after the flush that carries everything recorded so far has committed.
    """

    __slots__ = (
        "_children",
        "_dirty",
        "_effects",
        "_new",
        "_owner",
        "_pending",
        "_reopened",
        "_row_state",
        "_seq",
        "_settled",
        "_taken",
        "begins_at",
        "children",
        "deadline_at",
        "ended",
        "epoch",
        "error",
        "fired",
        "held",
        "id",
        "inbox",
        "input",
        "meter",
        "parent_id",
        "paused",
        "queue",
        "rank",
        "refusals",
        "shape",
        "state",
        "tasks",
        "workflow",
    )

    def __init__(self, row: NewRun | Claimed, workflow: Workflow, *, epoch: int) -> None:
        self.id = row.id
        self.workflow = workflow
        self.input = row.input
        self.queue = row.queue
        self.rank = row.rank
        self.parent_id = row.parent_id
        self.begins_at = row.due_at
        self.deadline_at = row.deadline_at
        self.epoch = self._owner = epoch
        self.state = _QUEUED
        self.paused = False
        self.held = False
        self.refusals = 0
        self.error: Failure | None = None
        self.shape: str | None = None
        self.tasks = {name: TaskProgress() for name in workflow.graph.order}
        self.inbox: list[Signal] = []
        self.ended: dict[UUID, RunEnd] = {}
        self.children: dict[UUID, OnClose] = {}
        self._seq = 0
        self._settled: list[str] | None = None  # since the last plan; None before the first
        self.meter = Meter()
        self._pending: list[AnyEntry] = []
        self._effects: list[Callable[[], None]] = []
        self._children: list[NewRun] = []
        self._taken: list[tuple[UUID, UUID]] = []
        self._new = row if isinstance(row, NewRun) else None
        self.fired: Fired | None = None
        self._dirty = False
        self._reopened = False
        self._row_state = None if isinstance(row, NewRun) else row.state

    # -- what happens ------------------------------------------------------------------

    def record(self, entry: AnyEntry, *, stored: bool = False) -> None:
        """Apply `entry` and queue it for the next flush.

        One that is `stored` was committed beside the flushes, as the next of the journal: what
        waits for a flush is numbered after it, and a run that has ended meanwhile stays ended.
        """
        before = self.state
        if stored:
            self._seq += 1
            if self.over:
                return
        self.apply(entry)
        if not stored:
            if type(entry) in ENDS:
                self.meter.note(entry)
            self._pending.append(entry)
        self._dirty = self._dirty or self.state is not before or type(entry) in _WITH_ROW
        self._reopened = self._reopened or type(entry) is entries.RunRetried

    @property
    def written(self) -> int:
        """How many entries the journal has, and the flush under way."""
        return self._seq

    def on_durable(self, effect: Callable[[], None]) -> None:
        """Call `effect` once everything recorded so far is committed."""
        self._effects.append(effect)

    def add_child(self, child: NewRun) -> None:
        """Add a run in the same flush as the entry that says so."""
        self._children.append(child)

    def take(self, signal: Signal) -> None:
        """Consume a signal in the same flush as the entry that says so."""
        self.inbox.remove(signal)
        self._taken.append((self.id, signal.id))

    def leave(self) -> None:
        """Give the run's row back to the table: the next flush leaves it to whoever claims it."""
        self.epoch = 0
        self._dirty = True

    def keep(self) -> None:
        """Hold the run: take back `leave`, and correct a row that says otherwise."""
        if self.epoch != self._owner or self._row_state not in (None, self.state):
            self.epoch = self._owner
            self._dirty = True
        self._row_state = None

    def replay(self, first: int, text: str, *, tasks: bool = True) -> None:
        """Apply entries read back from the journal; `first` is the number of the first one.

        Without `tasks`, which the code here may not have, only what the run's end needs. Raises
        ValueError when the journal has a gap: nothing is guessed.
        """
        if first != self._seq:
            raise ValueError(f"run {self.id}: entry {self._seq} is missing, found {first}")
        found = entries.decode(text)
        self._seq += len(found)
        for entry in found:
            if tasks:
                self.apply(entry)
            elif isinstance(entry, entries.StepEntry):
                self._apply_to_children(entry)

    def apply(self, entry: AnyEntry) -> None:
        """Let one entry change the state: the only function that does."""
        if isinstance(entry, entries.TaskEntry):
            self._apply_to_task(entry)
        elif isinstance(entry, entries.StepEntry):
            self.tasks[entry.task].apply(entry)
            self._apply_to_children(entry)
        else:
            self._apply_to_run(entry)

    def _apply_to_children(self, entry: AnyStepEntry) -> None:
        if isinstance(entry, entries.ChildStarted):
            self.children[entry.child] = entry.on_close
        elif isinstance(entry, entries.ChildEnded):
            self.children.pop(entry.child, None)

    def _apply_to_run(self, entry: AnyRunEntry) -> None:
        match entry:  # here and below what is frequent comes first
            case entries.RunStarted(shape=shape):
                self.shape = shape
            case (
                entries.RunSucceeded()
                | entries.RunFailed()
                | entries.RunDied()
                | entries.RunCancelled()
            ):
                self._end(entry)
            case entries.RunRecovered():
                self._recover(entry)
            case entries.RunPaused() | entries.RunResumed():
                self.paused = isinstance(entry, entries.RunPaused)
            case entries.RunRetried(tasks=names):
                # Whoever has it tried again knows that its time is over.
                self.state, self.error, self.deadline_at = _RUNNING, None, None
                self._settled = None
                for name in names:
                    self.tasks[name].reset()
            case _:
                assert_never(entry)
        if not self.state.finished:
            self.state = self._standing()

    def _end(self, entry: AnyEnding) -> None:
        match entry:
            case entries.RunSucceeded():
                self.state = _SUCCEEDED
            case entries.RunFailed(error=error):
                self.state, self.error = RunState.FAILED, error
            case entries.RunDied(error=error):
                self.state, self.error = RunState.DEAD, error
            case entries.RunCancelled(reason=reason):
                self.state = RunState.CANCELLED
                self.error = Failure(type="Cancelled", message=reason or "the run was cancelled")
            case _:
                assert_never(entry)

    def _recover(self, entry: entries.RunRecovered) -> None:
        for name in entry.lost:
            self.tasks[name].state = TaskState.READY
            self.tasks[name].crashes += entry.crashed

    def _apply_to_task(self, entry: AnyTaskEntry) -> None:
        task = self.tasks[entry.task]
        match entry:
            case entries.TaskStarted(attempt=attempt, ends_at=ends_at):
                task.state, task.attempt, task.due_at = _TASK_RUNNING, attempt, None
                task.ends_at = ends_at or task.ends_at
            case entries.TaskSucceeded(output=output, values=values):
                task.state, task.output, task.values = _TASK_SUCCEEDED, output, values
                task.steps = None
            case entries.TaskResumed():
                task.state, task.wait, task.due_at = _TASK_RUNNING, None, None
            case entries.TaskRetrying(error=error, due_at=due_at):
                task.fail(error, TaskState.RETRYING)
                task.due_at = due_at
            case entries.TaskCleared():
                task.crashes = 0
            case entries.TaskFailed(error=error):
                task.fail(error, TaskState.FAILED)
            case entries.TaskSkipped():
                task.state = TaskState.SKIPPED
            case entries.TaskParked(due_at=due_at):
                task.state, task.wait, task.due_at = TaskState.PARKED, entry, due_at
                task.crashes = 0  # as in `fail`
            case _:
                assert_never(entry)
        if task.state.settled and self._settled is not None:
            self._settled.append(entry.task)
        running = task.state is _TASK_RUNNING
        self.state = _RUNNING if running else self._standing()

    def _standing(self) -> RunState:
        """Tell where an unfinished run stands, from what its journal says of its tasks.

        A task that waits for a slot counts as it does without a journal of that: as work that is
        there to be done, or, when it had rested before, as resting still.
        """
        if self.shape is None:  # not started
            return RunState.PAUSED if self.paused else _QUEUED
        rests = False
        for task in self.tasks.values():
            if task.state is _TASK_RUNNING:
                return _RUNNING
            rests = rests or task.due_at is not None or task.wait is not None  # as `rested` tells
        if self.paused:
            return RunState.PAUSED
        return RunState.WAITING if rests and not self._has_fresh_work() else _RUNNING

    def _has_fresh_work(self) -> bool:
        upstream = self.workflow.graph.upstream
        return any(
            task.state in _FRESH
            and not task.rested
            and all(self.tasks[up].state.settled for up in upstream[name])
            for name, task in self.tasks.items()
        )

    # -- what it is --------------------------------------------------------------------

    def next(self) -> Plan:
        """Return what may start, what never will, and whether the run is through: each once."""
        flow, since = self.workflow, self._settled
        self._settled = []
        holds = self._holds if flow.conditions else bool  # every name is true
        return plan(flow.graph, flow.rules, self.tasks, holds, since=since)

    def _holds(self, name: str) -> bool | Failure:
        """Tell what the condition of a task says of the context, or why it can not be told."""
        condition = self.workflow.conditions.get(name)
        if condition is None:
            return True
        try:
            return bool(condition(self._merge(self.workflow.graph.ancestors[name])))
        except BaseException as error:  # noqa: BLE001 - whatever a condition raises, its task failed
            told = describe(error, name)
            sentence = f"the condition of the task can not be told: {told.message}"
            return msgspec.structs.replace(told, message=sentence)

    @property
    def started(self) -> bool:
        """True once a supervisor took the run up."""
        return self.shape is not None

    @property
    def over(self) -> bool:
        """True when no attempt may do anything more: finished, or blocked until somebody helps."""
        return self.state.over

    @property
    def not_before(self) -> datetime | None:
        """When a run that has not begun may do so; None once it has, or when it always may."""
        return None if self.started or self.over else self.begins_at

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
    def at_work(self) -> bool:
        """True while an attempt is under way or about to begin."""
        return _TASK_RUNNING in [task.state for task in self.tasks.values()]

    @property
    def resting(self) -> bool:
        """True when nothing runs and nothing can before a time, a signal or a child."""
        if self.state is not RunState.WAITING:
            return False
        return TaskState.READY not in [task.state for task in self.tasks.values()]

    @property
    def next_due(self) -> datetime | None:
        """When the earliest resting task may go on."""
        return min((t.due_at for t in self.tasks.values() if t.due_at is not None), default=None)

    @property
    def look_at(self) -> datetime | None:
        """When a resting run is to be looked at if nothing comes before."""
        ends = (t.ends_at for t in self.tasks.values() if not t.state.settled)
        dues = (self.not_before or self.next_due, self.deadline_at, *ends)
        return min((due for due in dues if due is not None), default=None)

    def resumable(self, name: str, now: datetime) -> bool:
        """Return whether what a parked task waits for has come."""
        task = self.tasks[name]
        wait = task.wait
        if task.state is not TaskState.PARKED or wait is None:
            return False
        due = wait.due_at is not None and wait.due_at <= now
        return due or self._has_come(task)

    def _has_come(self, task: TaskProgress) -> bool:
        """Return whether a signal or a child's end is here that a task waits for."""
        wait = task.wait
        if wait is None or task.state.settled:
            return False
        sent = any(signal.name in wait.signals for signal in self.inbox)
        return sent or any(child in self.ended for child in wait.children)

    @property
    def first_failure(self) -> Failure | None:
        """The error of the first task, in topological order, that failed for good."""
        failed = (t.error for t in self.tasks.values() if t.state is TaskState.FAILED)
        return next(failed, None)

    def before(self, name: str) -> tuple[dict[str, Any], Outputs]:
        """Return what task `name` sees beside the input: the values and outputs of its ancestors.

        The values are what the ancestors set, in order, and go over the input; an output is decoded
        when it is asked for.
        """
        ancestors = self.workflow.graph.ancestors[name]
        return self._set_by(ancestors, {}), Outputs({up: self.tasks[up].output for up in ancestors})

    def output(self) -> bytes:
        """Return the run's output as JSON: of its only sink, else each sink's by name."""
        sinks = self.workflow.graph.sinks
        if len(sinks) == 1:
            return bytes(self.tasks[sinks[0]].output)
        return msgspec.json.encode({name: self.tasks[name].output for name in sinks})

    # -- what is written ---------------------------------------------------------------

    def drain(self) -> Drained:
        """Take what the next flush has to write of this run."""
        new, self._new = self._new, None
        if new is not None and self.state.finished:
            # A row that is added can not tell how its run ended: that follows.
            new = msgspec.structs.replace(new, epoch=self.epoch)
            fired, self.fired = self.fired, None
            return Drained(new, None, None, [], [], None, [], fired, more=True)
        changed = self._row() if self._dirty and new is None else None
        nudged = self.parent_id if changed is not None and changed.finished else None
        self._dirty = self._reopened = False
        logged = ended = None
        if self._pending:
            ended, self.meter.ended = self.meter.ended, None
            logged = Logged(self.id, self._seq, entries.encode(self._pending), new is not None)
            self._seq += len(self._pending)
            self._pending = []
        if new is not None:
            new = msgspec.structs.replace(new, state=self.state, epoch=self.epoch)
        children, self._children = self._children, []
        taken, self._taken = self._taken, []
        fired, self.fired = self.fired, None
        effects, self._effects = self._effects, []
        return Drained(new, changed, logged, children, taken, nudged, effects, fired, ended=ended)

    def refuse(self, written: Drained) -> None:
        """Take back a flush that the database would not store; what follows takes its numbers.

        What was recorded since is taken back as well. The row that follows leaves out the context,
        which may be what was refused.
        """
        self.refusals += 1
        free = self._seq if written.logged is None else written.logged.seq
        for lost in (written, self.drain()):
            self.meter.put_back(lost.ended)
        self._seq = free

    def park(self, failure: Failure) -> None:
        """Leave the run as it is, blocked, with the reason; its journal tells nothing of that."""
        self.state = RunState.BLOCKED
        self.error = failure
        self._dirty = True

    def _row(self) -> ChangedRun:
        finished = self.state.finished
        succeeded = self.state is _SUCCEEDED
        return ChangedRun(
            id=self.id,
            state=self.state,
            output=self.output().decode() if succeeded else None,
            context=self._final_context() if finished and not self.refusals else None,
            error=msgspec.json.encode(self.error).decode() if self.error else None,
            due_at=self.look_at if self.state is RunState.WAITING else self.not_before,
            epoch=self.epoch,
            finished=finished,
            reopened=self._reopened,
            heard=len(self.inbox) + len(self._taken),
        )

    def _final_context(self) -> str:
        for task in self.tasks.values():
            if task.values is not entries.NOTHING:
                return msgspec.json.encode(self._merge(self.workflow.graph.order)).decode()
        return self.input

    def _merge(self, names: tuple[str, ...]) -> dict[str, Any]:
        return self._set_by(names, msgspec.json.decode(self.input))

    def _set_by(self, names: tuple[str, ...], merged: dict[str, Any]) -> dict[str, Any]:
        for name in names:
            values = self.tasks[name].values
            if values is not entries.NOTHING:
                merged.update(msgspec.json.decode(values))
        return merged


_WITH_ROW: frozenset[type[AnyEntry]] = frozenset(
    {
        entries.RunFailed,
        entries.RunRecovered,
        entries.RunRetried,
        entries.TaskRetrying,
        entries.TaskParked,
    }
)
_FRESH = frozenset({TaskState.WAITING, TaskState.READY})
