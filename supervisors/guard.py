"""The boundary around a supervisor: no way of dying in there reaches a sibling or the root."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import anyio
import structlog

from orchestrator.model.text import one_line
from supervisors.decide import Ended, Failure, classify

log = structlog.get_logger(__name__)


async def guard(live: Callable[[], Awaitable[None]]) -> Ended:
    """Run one incarnation and return how it ended.

    Only our own cancellation and the end of the process pass.

    A CancelledError that none of our scopes asked for (a foreign future or task was cancelled)
    would end the root's task group silently; here it is a crash like any other.
    """
    ended = Ended()
    try:
        await live()
    except asyncio.CancelledError as error:
        if _cancelled_by_us():
            raise
        ended = _failed(error)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the one place that contains everything
        ended = _failed(error)
    if not _cancelled_by_us():
        _forget_requests()
    return ended


def _cancelled_by_us() -> bool:
    return anyio.current_effective_deadline() == -math.inf


def _forget_requests() -> None:
    """Take back what a foreign `task.cancel()` left: our own scopes would wait for its end."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


def _failed(error: BaseException) -> Ended:
    failure = classify(error)
    sentence = _sentence(telling(error))
    expected = failure in (Failure.LEASE, Failure.INFRASTRUCTURE, Failure.PERMANENT)
    log.warning(
        "tenant.failed",
        failure=str(failure),
        error=sentence,
        exc_info=None if expected else error,
    )
    return Ended(failure=failure, error=sentence)


def telling(error: BaseException) -> BaseException:
    """Return the error inside nested groups that made the whole what `classify` says it is."""
    while isinstance(error, BaseExceptionGroup):
        kind = classify(error)
        error = next(inner for inner in error.exceptions if classify(inner) is kind)
    return error


def _sentence(error: BaseException) -> str:
    try:
        # What it says may come from anywhere, and is stored and shown: NUL can not be, half a
        # character neither.
        return one_line(str(error)) or type(error).__name__
    except Exception:  # noqa: BLE001 - text of an error from anywhere; ours must not fail on it
        return type(error).__name__
