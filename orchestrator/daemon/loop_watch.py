"""Measures how late the event loop turns, and says who holds it up while they still do."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import anyio
import structlog

from orchestrator.daemon.attempts import Attempt, attempt_of
from orchestrator.daemon.sd_notify import Notifier, watchdog_interval
from orchestrator.model.api import LoopBlocked
from orchestrator.model.clock import Clock, until_next
from orchestrator.model.ids import TenantId
from orchestrator.observability import stacks
from supervisors.slot import Slot

BEAT_SECONDS = 0.125
BLOCKED_SECONDS = 0.25

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """Who held up the loop when the thread looked."""

    attempt: Attempt | None
    stack: list[str]


class LoopWatch:
    """The event loop beats, and a thread sees when it does not; that thread can still speak.

    `lag_ms` is how late the last beat came, `last` who last held up the loop for BLOCKED_SECONDS
    or more. A blocked loop gives the watchdog no sign of life.
    """

    def __init__(self, clock: Clock, notifier: Notifier, slots: Mapping[TenantId, Slot]) -> None:
        self._clock = clock
        self._notifier = notifier
        self._slots = slots
        self._turned = math.inf
        self._seen: Seen | None = None
        self.lag_ms = 0.0
        self.last: LoopBlocked | None = None

    async def run(self) -> None:
        """Watch for ever."""
        ended = threading.Event()
        watched = (asyncio.get_running_loop(), threading.get_ident(), ended)
        threading.Thread(
            target=self._look, args=watched, name="insula-loop-watch", daemon=True
        ).start()
        try:
            await self._beat()
        finally:
            ended.set()

    # -- in the loop -------------------------------------------------------------------

    async def _beat(self) -> None:
        interval = watchdog_interval() or math.inf
        told = -math.inf
        while True:
            self._turned = self._clock.monotonic()
            pause = until_next(min(BEAT_SECONDS, interval), self._turned)
            await anyio.sleep(pause)
            now = self._clock.monotonic()
            late = max(0.0, now - self._turned - pause)
            self.lag_ms = round(late * 1000, 3)
            seen, self._seen = self._seen, None
            if seen is not None or late >= BLOCKED_SECONDS:
                self._unblocked(seen, late)
            if now - told >= interval:
                told = now
                self._notifier.watchdog()

    def _unblocked(self, seen: Seen | None, late: float) -> None:
        """Note the end; nobody was seen when not even the thread ran.

        Then the process was stopped, or native code kept the interpreter to itself.
        """
        milliseconds = round(late * 1000)
        attempt = seen.attempt if seen is not None else None
        self.last = LoopBlocked(
            ended_at=self._clock.now(),
            milliseconds=milliseconds,
            tenant=attempt.tenant if attempt else None,
            run=attempt.run if attempt else None,
            task=attempt.task if attempt else None,
            where=seen.stack[-1] if seen is not None and seen.stack else None,
        )
        log.warning("loop.unblocked", milliseconds=milliseconds, **_fields(attempt))

    # -- in the thread -----------------------------------------------------------------

    def _look(self, loop: asyncio.AbstractEventLoop, thread: int, ended: threading.Event) -> None:
        looked, pause, reported = self._clock.monotonic(), BLOCKED_SECONDS, -math.inf
        while not ended.wait(pause):
            awaited, looked = looked + pause, self._clock.monotonic()
            turned = self._turned
            left = turned + BLOCKED_SECONDS - looked
            pause = max(BEAT_SECONDS, min(left, BLOCKED_SECONDS))
            late = looked - awaited >= BLOCKED_SECONDS - BEAT_SECONDS
            if left > 0 or late or turned == reported:
                continue  # it turns, this thread stood still itself, or it has said so already
            task = asyncio.current_task(loop)
            seen = Seen(attempt_of(self._slots, task), stacks.of_thread(thread))
            if self._turned == turned:  # what was seen is what still blocks
                reported, self._seen = turned, seen
                name = task.get_name() if task else None
                log.warning(
                    "loop.blocked", **_fields(seen.attempt), asyncio_task=name, stack=seen.stack
                )


def _fields(attempt: Attempt | None) -> dict[str, str]:
    return {} if attempt is None else attempt.fields
