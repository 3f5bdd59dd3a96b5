"""What can happen to a run: the entries of its journal, which are also its events.

A run's state is the fold of its entries (`execution.Execution.apply`), live and after a crash
alike.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from orchestrator.model.api import Failure
from orchestrator.workflow.durable import OnClose

NOTHING = msgspec.Raw(b"{}")
"""What a task that set nothing put into the context; compared by identity."""


class Entry(msgspec.Struct, frozen=True, tag_field="event", omit_defaults=True):
    """Base of all entries.

    `TaskEntry` and `StepEntry` tell kinds apart with one look: in a union of classes, each that an
    entry is not of costs as much as a call.
    """


class TaskEntry(Entry, frozen=True):
    """Base of what happens to a task of a run."""


class StepEntry(Entry, frozen=True):
    """Base of what a durable call in a task did."""


class RunStarted(Entry, frozen=True, tag="run.started"):
    """A supervisor took the run up for the first time.

    `shape` is the digest of the DAG it keeps.


    `origin` is the run that it repeats, from a task on or as a whole.
    """

    shape: str
    origin: UUID | None = None


class RunRecovered(Entry, frozen=True, tag="run.recovered"):
    """A new owner took the run over; the attempts that were under way, `lost`, start again.

    `crashed` when the process of the owner before died: then they are suspects.
    """

    lost: list[str]
    crashed: bool = False


class TaskStarted(TaskEntry, frozen=True, tag="task.started"):
    """An attempt may begin once this is durable.

    `ends_at` is when the time of all its attempts is over (the database's time), told by the first.
    """

    task: str
    attempt: int
    ends_at: datetime | None = None


class TaskSucceeded(TaskEntry, frozen=True, tag="task.succeeded"):
    """The task is done for good. `output` and `values`, what it set in the context, are JSON.

    `dropped_bytes` is the size of an output over the tenant's limit, which is not stored.
    """

    task: str
    attempt: int
    output: msgspec.Raw
    values: msgspec.Raw = NOTHING
    dropped_bytes: int = 0


class TaskRetrying(TaskEntry, frozen=True, tag="task.retrying"):
    """The attempt failed; the next one may start at `due_at` (the database's time)."""

    task: str
    attempt: int
    error: Failure
    due_at: datetime


class TaskFailed(TaskEntry, frozen=True, tag="task.failed"):
    """The last attempt failed."""

    task: str
    attempt: int
    error: Failure


class TaskSkipped(TaskEntry, frozen=True, tag="task.skipped"):
    """The trigger rule did not hold."""

    task: str


class TaskParked(TaskEntry, frozen=True, tag="task.parked"):
    """The task waits without a slot: for a time, a signal or a child, whichever comes first."""

    task: str
    due_at: datetime | None = None
    signals: list[str] = []
    children: list[UUID] = []


class TaskResumed(TaskEntry, frozen=True, tag="task.resumed"):
    """The task is run again from its beginning; what it did durably is remembered."""

    task: str


class TaskCleared(TaskEntry, frozen=True, tag="task.cleared"):
    """The task, a suspect, has run alone for long enough: the crashes before count no more."""

    task: str


class StepDone(StepEntry, frozen=True, tag="step.done"):
    """`ctx.step` number `step` of the task returned.

    Here and below, `branch` tells durable calls apart that are made side by side: each task of the
    event loop that makes any is a branch, in the order of their first calls, and counts its own.
    """

    task: str
    step: int
    name: str
    value: msgspec.Raw
    branch: int = 0


class SleepSet(StepEntry, frozen=True, tag="sleep.set"):
    """`ctx.sleep` began; it is over at `due_at` (the database's time)."""

    task: str
    step: int
    due_at: datetime
    branch: int = 0


class SignalAwaited(StepEntry, frozen=True, tag="signal.awaited"):
    """`ctx.wait_signal` began; it gives up at `due_at`."""

    task: str
    step: int
    name: str
    due_at: datetime | None = None
    branch: int = 0


class SignalTaken(StepEntry, frozen=True, tag="signal.taken"):
    """`ctx.wait_signal` got its message, which nobody else will."""

    task: str
    step: int
    name: str
    signal: UUID
    payload: msgspec.Raw
    branch: int = 0


class SignalMissed(StepEntry, frozen=True, tag="signal.missed"):
    """`ctx.wait_signal` gave up."""

    task: str
    step: int
    name: str
    branch: int = 0


class ChildStarted(StepEntry, frozen=True, tag="child.started"):
    """`ctx.start_child` added a run; `on_close` is what becomes of it when this run ends."""

    task: str
    step: int
    child: UUID
    workflow: str
    on_close: OnClose = "cancel"
    branch: int = 0


class ChildEnded(StepEntry, frozen=True, tag="child.ended"):
    """The run that `ctx.wait` waited for has ended."""

    task: str
    step: int
    child: UUID
    state: str
    output: msgspec.Raw
    error: Failure | None = None
    branch: int = 0


class ItemDone(StepEntry, frozen=True, tag="item.done"):
    """`ctx.map` finished one item."""

    task: str
    step: int
    name: str
    item: int
    value: msgspec.Raw
    branch: int = 0


class RunSucceeded(Entry, frozen=True, tag="run.succeeded"):
    """Every task settled and none failed."""


class RunFailed(Entry, frozen=True, tag="run.failed"):
    """Every task settled and one failed, or the run can not go on."""

    error: Failure


class RunCancelled(Entry, frozen=True, tag="run.cancelled"):
    """Somebody, or the parent run, cancelled it; it never comes back to life."""

    reason: str = ""


class RunDied(Entry, frozen=True, tag="run.died"):
    """A task of the run was under way too often when the process crashed."""

    error: Failure


class RunPaused(Entry, frozen=True, tag="run.paused"):
    """Nothing more starts until the run is resumed."""

    reason: str = ""


class RunResumed(Entry, frozen=True, tag="run.resumed"):
    """The run goes on."""

    reason: str = ""


class RunRetried(Entry, frozen=True, tag="run.retried"):
    """The failed run goes on: `tasks`, the failed ones and what came after them, start afresh."""

    tasks: list[str]
    reason: str = ""


AnyStepEntry = (
    StepDone
    | SleepSet
    | SignalAwaited
    | SignalTaken
    | SignalMissed
    | ChildStarted
    | ChildEnded
    | ItemDone
)
AnySettling = TaskSucceeded | TaskFailed | TaskSkipped
AnyTaskEntry = (
    TaskStarted
    | TaskSucceeded
    | TaskRetrying
    | TaskFailed
    | TaskSkipped
    | TaskParked
    | TaskResumed
    | TaskCleared
)
AnyEnding = RunSucceeded | RunFailed | RunCancelled | RunDied
AnyRunEntry = RunStarted | RunRecovered | RunPaused | RunResumed | RunRetried | AnyEnding
AnyEntry = AnyRunEntry | AnyTaskEntry | AnyStepEntry

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(list[AnyEntry])


def encode(entries: list[AnyEntry]) -> str:
    """Return the entries as the JSON text of one journal row."""
    return _ENCODER.encode(entries).decode()


def decode(text: str) -> list[AnyEntry]:
    """Return the entries of one journal row."""
    return _DECODER.decode(text)
