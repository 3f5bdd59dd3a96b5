"""What an attempt came to.

A result or exception becomes a value, and a failure becomes a decision. Pure.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from orchestrator.engine.entries import (
    NOTHING,
    TaskFailed,
    TaskParked,
    TaskRetrying,
)
from orchestrator.engine.failures import TaskExited
from orchestrator.model.api import Failure
from orchestrator.model.values import to_json
from orchestrator.workflow.retry import Fail, Retry
from orchestrator.workflow.secret import Revealed, refuse_secrets

MESSAGE_CHARACTERS = 2_000
TRACEBACK_CHARACTERS = 8_000


class Succeeded(msgspec.Struct, frozen=True):
    """The attempt returned; both values are JSON, ready to be stored."""

    output: msgspec.Raw
    values: msgspec.Raw


class Failed(msgspec.Struct, frozen=True):
    """The attempt raised; `retryable` as its policy says of this exception."""

    error: Failure
    retryable: bool


class Waiting(msgspec.Struct, frozen=True):
    """The attempt gave its slot back until what it waits for has come."""

    wait: TaskParked


class Diverged(msgspec.Struct, frozen=True):
    """The attempt made other durable calls than the journal holds."""

    reason: str


class Stored(msgspec.Struct, frozen=True):
    """The attempt succeeded, and the journal says so already: its own transaction committed it."""


Outcome = Succeeded | Failed | Waiting | Diverged | Stored


def encode(value: Any) -> msgspec.Raw:
    """Return the JSON form of a durable call's result; raises TypeError or ValueError."""
    return msgspec.Raw(to_json("the result", value))


def succeeded(output: Any, changes: dict[str, Any]) -> Succeeded:
    """Encode what a task returned and set.

    Raises TypeError or ValueError when a value has no JSON form: that fails the attempt, not the
    batch it would ride in.
    """
    return Succeeded(
        output=msgspec.Raw(to_json("the output", output)),
        values=msgspec.Raw(to_json("the context", changes)) if changes else NOTHING,
    )


def failed(
    error: BaseException, task: str, retry: Retry, revealed: Revealed | None = None
) -> Failed:
    """Describe the exception of an attempt, bounded and without what it has `revealed`."""
    return Failed(error=describe(error, task, revealed), retryable=retry.covers(error))


def keep_secrets(result: Succeeded, revealed: Revealed) -> Succeeded:
    """Return the result of an attempt; SecretLeaked when it holds a secret that the task read."""
    refuse_secrets("the output", result.output, revealed)
    refuse_secrets("the context", result.values, revealed)
    return result


def broken(error: BaseException, task: str) -> Failed:
    """Describe what went wrong around an attempt, in code that is not the task's.

    Tried again as a failure of the task's is: memory, for example, may be there the next time.
    """
    try:
        failure = describe(error, task)
    except Exception:  # noqa: BLE001 - there is no memory left to tell it
        failure = Failure(type="AttemptBroke", message="what went wrong can not be told", task=task)
    return Failed(error=failure, retryable=True)


def describe(
    error: BaseException, task: str | None = None, revealed: Revealed | None = None
) -> Failure:
    """Return the error as stored: type, message and traceback, each bounded and free of NULs.

    A Fail says all there is to say, so it has no traceback. Secrets are hidden before anything is
    cut: half of one would be found no more.
    """
    kind = type(error).__name__
    message = _read(lambda: str(error) or kind, f"{kind}, whose message can not be read")
    trace = _read(lambda: "".join(traceback.format_exception(error)), "")
    if revealed:
        message, trace = revealed.hide(message), revealed.hide(trace)
    return Failure(
        type=_bounded(kind, MESSAGE_CHARACTERS),
        message=_bounded(message, MESSAGE_CHARACTERS),
        task=task,
        traceback=None
        if isinstance(error, Fail)
        else _bounded(trace, TRACEBACK_CHARACTERS, keep_end=True),
    )


def exited(error: BaseException) -> TaskExited:
    """Return the failure that stands for `error`, which would end the program or the loop."""
    told = describe(error)
    return TaskExited(f"the task ended the program: {told.type}: {told.message}")


def unstorable(error: Exception) -> Failure:
    """Return the failure of a run that the database refused.

    Only the first line of the reason: the others show the values that were refused.
    """
    reason = str(error).partition("\n")[0]
    return Failure(type="Refused", message=_bounded(reason, MESSAGE_CHARACTERS))


@dataclass(frozen=True, slots=True)
class Attempt:
    """Which attempt at which task; `failures` counts the failed ones, this one included.

    None follows at or after `ends_at`.
    """

    task: str
    number: int
    failures: int
    ends_at: datetime | None = None


def after_failure(
    attempt: Attempt, outcome: Failed, retry: Retry, *, now: datetime, chance: float
) -> TaskRetrying | TaskFailed:
    """Decide what follows a failed attempt; `now` is the database's time, `chance` in [0, 1)."""
    due_at = now + retry.delay(attempt.failures, chance=chance)
    in_time = attempt.ends_at is None or due_at < attempt.ends_at
    if outcome.retryable and attempt.failures < retry.attempts and in_time:
        return TaskRetrying(
            task=attempt.task, attempt=attempt.number, error=outcome.error, due_at=due_at
        )
    return TaskFailed(task=attempt.task, attempt=attempt.number, error=outcome.error)


def _read(text: Callable[[], str], otherwise: str) -> str:
    """Return what an exception says of itself: code of a user's, which may fail as well."""
    try:
        return text()
    except BaseException:  # noqa: BLE001 - whatever it raises, it must not take the engine with it
        return otherwise


def _bounded(text: str, limit: int, *, keep_end: bool = False) -> str:
    clean = text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    if len(clean) <= limit:
        return clean
    return "…" + clean[1 - limit :] if keep_end else clean[: limit - 1] + "…"
