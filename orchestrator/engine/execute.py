"""Runs one attempt at a task under its deadline and turns whatever comes of it into an outcome."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from orchestrator.engine import outcome
from orchestrator.engine.outcome import Outcome
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import AnyTask
from orchestrator.workflow.parameters import Parameters


class AttemptTimeout(Exception):
    """The attempt took longer than its task allows."""


class TaskExited(Exception):
    """The task called `sys.exit` or was cancelled by something other than the engine."""


async def execute(
    task: AnyTask, ctx: Context, parameters: Parameters, limiter: anyio.CapacityLimiter
) -> Outcome:
    """Return the outcome of one attempt; nothing but the engine's own cancellation leaves here.

    A sync task runs in a worker thread. At its timeout the thread is left to itself: Python can not
    stop it, but its context no longer reaches the database.
    """
    seconds = task.timeout.total_seconds() if task.timeout else math.inf
    deadline = anyio.CancelScope(deadline=anyio.current_time() + seconds)
    try:
        with deadline:
            returned = await _call(task, ctx, parameters.decode(ctx.input), limiter)
            return outcome.succeeded(returned, ctx.changes)
        return _failure(AttemptTimeout(f"the attempt took longer than {seconds:g} s"), task)
    except asyncio.CancelledError as error:
        if anyio.current_effective_deadline() == -math.inf:
            raise
        return _failure(TaskExited(f"the task was cancelled from inside: {error!r}"), task)
    except GeneratorExit:
        raise
    except (SystemExit, KeyboardInterrupt) as error:
        return _failure(TaskExited(f"the task ended the program: {error!r}"), task)
    except BaseException as error:  # noqa: BLE001 - user code may raise anything; it fails this attempt only
        return _failure(error, task)
    finally:
        ctx.close()


async def _call(
    task: AnyTask, ctx: Context, arguments: Mapping[str, Any], limiter: anyio.CapacityLimiter
) -> Any:
    call = partial(task.function, ctx, **arguments)
    if task.is_async:
        return await call()
    return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=limiter)


def _failure(error: BaseException, task: AnyTask) -> Outcome:
    return outcome.failed(error, task.name, task.retry)
