"""Calls sync code of users in worker threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from orchestrator.engine.failures import TaskExited

T = TypeVar("T")


async def in_thread(function: Callable[[], T], limiter: anyio.CapacityLimiter) -> T:
    """Return `function()`, called in a worker thread that a cancellation leaves to itself."""

    def call() -> T:
        try:
            return function()
        except GeneratorExit as error:
            # As it is it would close the coroutines that wait here, the engine's among them.
            raise TaskExited(f"the task raised GeneratorExit: {error}") from error

    return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=limiter)
