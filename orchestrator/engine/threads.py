"""Calls sync code of users in worker threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

import anyio
import anyio.to_thread
import structlog

from orchestrator.engine.failures import TaskExited

T = TypeVar("T")
log = structlog.get_logger(__name__)


async def in_thread(function: Callable[[], T], limiter: anyio.CapacityLimiter) -> T:
    """Return `function()`, called in a worker thread that a cancellation leaves to itself.

    Such a thread keeps its place in `limiter` until it ends, so that there are never more.
    """
    place = _Place(function, limiter)
    await limiter.acquire_on_behalf_of(place)
    try:
        # The places are ours to count, so anyio's own limit is out of the way.
        return await anyio.to_thread.run_sync(
            place.call, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
        )
    finally:
        place.leave()


class _Place(Generic[T]):
    """One call's place among the threads: given back by the thread, or by nobody's if none ran."""

    def __init__(self, function: Callable[[], T], limiter: anyio.CapacityLimiter) -> None:
        self._function = function
        self._limiter = limiter
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._begun = self._ended = self._left = False

    def call(self) -> T:
        """Call the function, in the thread."""
        with self._lock:
            if self._left:  # cancelled before the thread came to it
                raise TaskExited("the call was cancelled before it began")
            self._begun = True
        try:
            return self._function()
        except GeneratorExit as error:
            # As it is it would close the coroutines that wait here, the engine's among them.
            raise TaskExited(f"the task raised GeneratorExit: {error}") from error
        finally:
            with self._lock:
                self._ended = True
                abandoned = self._left
            if abandoned:
                with suppress(RuntimeError):  # the loop has ended, and the limit with it
                    self._loop.call_soon_threadsafe(self._give_back)

    def leave(self) -> None:
        """Give the place back, now or when the thread that goes on has ended."""
        with self._lock:
            self._left = True
            runs_on = self._begun and not self._ended
        if not runs_on:
            self._give_back()
            return
        log.warning(
            "thread.abandoned",
            busy=self._limiter.borrowed_tokens,
            threads=self._limiter.total_tokens,
        )

    def _give_back(self) -> None:
        self._limiter.release_on_behalf_of(self)
