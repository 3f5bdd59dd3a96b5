"""What can happen to a run: the entries of its journal, which are also its events.

A run's state is the fold of its entries (`execution.Execution.apply`), live and after a crash
alike.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from orchestrator.model.api import Failure

NOTHING = msgspec.Raw(b"{}")
"""What a task that set nothing put into the context; compared by identity."""


class Entry(msgspec.Struct, frozen=True, tag_field="event", omit_defaults=True):
    """Base of all entries."""


class RunStarted(Entry, frozen=True, tag="run.started"):
    """A supervisor took the run up for the first time.

    `shape` is the digest of the DAG it keeps.
    """

    shape: str


class RunRecovered(Entry, frozen=True, tag="run.recovered"):
    """A new owner took the run over; the attempts that were under way, `lost`, start again."""

    lost: list[str]


class TaskStarted(Entry, frozen=True, tag="task.started"):
    """An attempt may begin once this is durable."""

    task: str
    attempt: int


class TaskSucceeded(Entry, frozen=True, tag="task.succeeded"):
    """The task is done for good. `output` and `values`, what it set in the context, are JSON.

    `dropped_bytes` is the size of an output over the tenant's limit, which is not stored.
    """

    task: str
    attempt: int
    output: msgspec.Raw
    values: msgspec.Raw = NOTHING
    dropped_bytes: int = 0


class TaskRetrying(Entry, frozen=True, tag="task.retrying"):
    """The attempt failed; the next one may start at `due_at` (the database's time)."""

    task: str
    attempt: int
    error: Failure
    due_at: datetime


class TaskFailed(Entry, frozen=True, tag="task.failed"):
    """The last attempt failed."""

    task: str
    attempt: int
    error: Failure


class TaskSkipped(Entry, frozen=True, tag="task.skipped"):
    """The trigger rule did not hold."""

    task: str


class RunSucceeded(Entry, frozen=True, tag="run.succeeded"):
    """Every task settled and none failed."""

    note: str = ""


class RunFailed(Entry, frozen=True, tag="run.failed"):
    """Every task settled and one failed, or the run can not go on."""

    error: Failure


AnyTaskEntry = TaskStarted | TaskSucceeded | TaskRetrying | TaskFailed | TaskSkipped
AnyEntry = RunStarted | RunRecovered | RunSucceeded | RunFailed | AnyTaskEntry

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(list[AnyEntry])


def encode(entries: list[AnyEntry]) -> str:
    """Return the entries as the JSON text of one journal row."""
    return _ENCODER.encode(entries).decode()


def decode(text: str) -> list[AnyEntry]:
    """Return the entries of one journal row."""
    return _DECODER.decode(text)
