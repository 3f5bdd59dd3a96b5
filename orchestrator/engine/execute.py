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
from orchestrator.engine.durable import Durable, NonDeterminism, Parked
from orchestrator.engine.entries import TaskParked
from orchestrator.engine.failures import AttemptTimeout, TaskExited
from orchestrator.engine.outcome import Outcome
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import AnyTask
from orchestrator.workflow.parameters import Parameters


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
    seconds = task.timeout.total_seconds() if task.timeout else math.inf
    deadline = anyio.CancelScope(deadline=anyio.current_time() + seconds)
    try:
        with deadline:
            returned = await _call(task, ctx, parameters.decode(ctx.input), limiter)
            durable.check_finished()
            return outcome.succeeded(returned, ctx.changes)
        return _failure(AttemptTimeout(f"the attempt took longer than {seconds:g} s"), task)
    except asyncio.CancelledError as error:
        if anyio.current_effective_deadline() == -math.inf:
            raise
        return _failure(TaskExited(f"the task was cancelled from inside: {error!r}"), task)
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001 - user code may raise anything
        return _ending(error, task)
    finally:
        ctx.close()


def _ending(error: BaseException, task: AnyTask) -> Outcome:
    """Return what an exception means: a wait, a divergence, or a failed attempt."""
    match error:
        case Parked(wait=wait):
            return outcome.Waiting(wait)
        case NonDeterminism():
            return outcome.Diverged(str(error))
        case BaseExceptionGroup():
            return _waiting(error) or _failure(error, task)
        case SystemExit() | KeyboardInterrupt():
            return _failure(TaskExited(f"the task ended the program: {error!r}"), task)
        case _:
            return _failure(error, task)


async def _call(
    task: AnyTask, ctx: Context, arguments: Mapping[str, Any], limiter: anyio.CapacityLimiter
) -> Any:
    call = partial(task.function, ctx, **arguments)
    if task.is_async:
        return await call()
    return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=limiter)


def _waiting(group: BaseExceptionGroup[BaseException]) -> Outcome | None:
    """Return what concurrent durable calls wait for together; None when one of them failed."""
    waits, others = group.split(Parked)
    if waits is None or others is not None:
        return None
    found = [error.wait for error in _leaves(waits) if isinstance(error, Parked)]
    due = [wait.due_at for wait in found if wait.due_at is not None]
    return outcome.Waiting(
        TaskParked(
            task=found[0].task,
            due_at=min(due, default=None),
            signals=[name for wait in found for name in wait.signals],
            children=[child for wait in found for child in wait.children],
        )
    )


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _failure(error: BaseException, task: AnyTask) -> Outcome:
    return outcome.failed(error, task.name, task.retry)
