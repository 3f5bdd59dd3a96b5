"""Runs one attempt at a task under its deadline and turns whatever comes of it into an outcome."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel

from orchestrator.engine import outcome
from orchestrator.engine.durable import Durable, Parked
from orchestrator.engine.failures import AttemptTimeout, TaskExited
from orchestrator.engine.outcome import Outcome
from orchestrator.engine.threads import in_thread
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import AnyTask
from orchestrator.workflow.parameters import Parameters
from orchestrator.workflow.secret import Revealed


async def execute(
    task: AnyTask,
    ctx: Context,
    parameters: Parameters,
    durable: Durable,
    limiter: anyio.CapacityLimiter,
) -> Outcome:
    """Return the outcome of one attempt; nothing but the engine's own cancellation leaves here.

    A sync task runs in a worker thread. At its timeout the thread is left to itself: Python can not
    stop it, but its context no longer reaches the database.
    """
    mine = asyncio.current_task()
    try:
        with _deadline(task):
            returned = await _call(task, ctx, parameters.decode(ctx.input), limiter)
            durable.check_finished()
            result = outcome.succeeded(returned, ctx.changes)
            return outcome.keep_secrets(result, ctx.revealed) if ctx.revealed else result
        timeout = AttemptTimeout(f"the attempt took longer than {_seconds(task):g} s")
        return _failure(timeout, task, ctx.revealed)
    except BaseException as error:
        if isinstance(error, GeneratorExit) and _running_task() is not mine:
            raise  # nobody raised it: this coroutine is being thrown away
        if anyio.current_effective_deadline() == -math.inf:
            # The engine stops, or the run has ended: what the task makes of that is no outcome.
            await anyio.lowlevel.checkpoint_if_cancelled()
        return _ending(error, task, durable, ctx.revealed)
    finally:
        ctx.close()


def _deadline(task: AnyTask) -> AbstractContextManager[object, bool | None]:
    """Return what an attempt's time ends; most tasks have no timeout, and a scope costs."""
    if task.timeout is None:
        return nullcontext()
    return anyio.CancelScope(deadline=anyio.current_time() + _seconds(task))


def _seconds(task: AnyTask) -> float:
    return math.inf if task.timeout is None else task.timeout.total_seconds()


def _running_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _ending(error: BaseException, task: AnyTask, durable: Durable, revealed: Revealed) -> Outcome:
    """Return what an exception means: a wait, a divergence, or a failed attempt."""
    if durable.diverged is not None:
        return outcome.Diverged(durable.diverged)
    match error:
        case Parked():
            return outcome.Waiting(durable.waits_for)
        case BaseExceptionGroup():
            # A call of a task group that waits does not hide that another one failed.
            _, others = error.split(Parked)
            waiting = outcome.Waiting(durable.waits_for)
            return _failure(others, task, revealed) if others else waiting
        case SystemExit() | KeyboardInterrupt() | GeneratorExit():
            return _failure(outcome.exited(error), task, revealed)
        case asyncio.CancelledError():
            return _failure(TaskExited("the task was cancelled from inside"), task, revealed)
        case _:
            return _failure(error, task, revealed)


async def _call(
    task: AnyTask, ctx: Context, arguments: Mapping[str, Any], limiter: anyio.CapacityLimiter
) -> Any:
    call = partial(task.function, ctx, **arguments)
    if task.is_async:
        return await call()
    return await in_thread(call, limiter)


def _failure(error: BaseException, task: AnyTask, revealed: Revealed) -> Outcome:
    return outcome.failed(error, task.name, task.retry, revealed)
