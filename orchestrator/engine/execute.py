"""Runs one attempt at a task under its deadline and turns whatever comes of it into an outcome."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
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
        call = partial(task.function, ctx, **parameters.decode(ctx.input))
        if task.timeout is None:  # as of most tasks: a scope costs
            return await _result(task, call, ctx, durable, limiter)
        seconds = task.timeout.total_seconds()
        with anyio.CancelScope(deadline=anyio.current_time() + seconds):
            return await _result(task, call, ctx, durable, limiter)
        timeout = AttemptTimeout(f"the attempt took longer than {seconds:g} s")
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


async def _result(
    task: AnyTask,
    call: Callable[[], Any],
    ctx: Context,
    durable: Durable,
    limiter: anyio.CapacityLimiter,
) -> Outcome:
    returned = await (call() if task.is_async else in_thread(call, limiter))
    durable.check_finished()
    result = outcome.succeeded(returned, ctx.changes)
    return outcome.keep_secrets(result, ctx.revealed) if ctx.revealed else result


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


def _failure(error: BaseException, task: AnyTask, revealed: Revealed) -> Outcome:
    return outcome.failed(error, task.name, task.retry, revealed)
