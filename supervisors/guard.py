"""The boundary around a supervisor: no way of dying in there reaches a sibling or the root."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import anyio
import structlog

from orchestrator.model.clock import Clock
from supervisors.decide import Ended, Failure, classify

log = structlog.get_logger(__name__)


async def guard(live: Callable[[], Awaitable[None]], clock: Clock) -> Ended:
    """Run one incarnation and return how it ended.

    Only our own cancellation and the end of the process pass.

    A CancelledError that none of our scopes asked for (a foreign future or task was cancelled)
    would end the root's task group silently; here it is a crash like any other.
    """
    began = clock.monotonic()
    try:
        await live()
    except asyncio.CancelledError as error:
        if anyio.current_effective_deadline() == -math.inf:
            raise
        return _failed(error, clock.monotonic() - began)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the one place that contains everything
        return _failed(error, clock.monotonic() - began)
    return Ended(healthy_seconds=clock.monotonic() - began)


def _failed(error: BaseException, seconds: float) -> Ended:
    failure = classify(error)
    first = innermost(error)
    sentence = str(first) or type(first).__name__
    expected = failure in (Failure.LEASE, Failure.INFRASTRUCTURE, Failure.PERMANENT)
    log.warning(
        "tenant.failed",
        failure=str(failure),
        error=sentence,
        exc_info=None if expected else error,
    )
    return Ended(failure=failure, error=sentence, healthy_seconds=seconds)


def innermost(error: BaseException) -> BaseException:
    """Return the first real error inside nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
