"""Measures how late the event loop runs, names what blocks it, tells the watchdog that it turns."""

from __future__ import annotations

import asyncio
import threading

import anyio
import structlog

from orchestrator.daemon.sd_notify import Notifier, watchdog_interval
from orchestrator.model.clock import Clock
from orchestrator.observability import stacks

LOOK_SECONDS = 0.5
BLOCKED_SECONDS = 1.0

log = structlog.get_logger(__name__)


class LoopWatch:
    """Looks at the event loop; `lag_ms` is how late the last look came.

    A blocked loop shows here and stops the signs of life. What has blocked it for
    `blocked_seconds` is named in the log as `loop.blocked`, once each time, by a thread of its own:
    the task, which for an attempt says tenant and run, and where it stands.
    """

    def __init__(
        self, clock: Clock, notifier: Notifier, *, blocked_seconds: float = BLOCKED_SECONDS
    ) -> None:
        self._clock = clock
        self._notifier = notifier
        self._blocked_seconds = blocked_seconds
        self._expected = 0.0
        self._ended = threading.Event()
        self.lag_ms = 0.0

    async def run(self) -> None:
        """Look for ever."""
        interval = watchdog_interval()
        pause = min(LOOK_SECONDS, interval) if interval else LOOK_SECONDS
        self._expected = self._clock.monotonic() + pause
        self._ended.clear()
        self._watch_from_outside()
        try:
            while True:
                await anyio.sleep(max(0.0, self._expected - self._clock.monotonic()))
                now = self._clock.monotonic()
                self.lag_ms = round(max(0.0, now - self._expected) * 1000, 3)
                self._expected = now + pause
                if interval:
                    self._notifier.watchdog()
        finally:
            self._ended.set()

    def _watch_from_outside(self) -> None:
        loop, thread = asyncio.get_running_loop(), threading.get_ident()
        # A daemon thread: it holds up no end of the process, however that comes.
        watch = threading.Thread(
            target=self._name_what_blocks,
            args=(loop, thread),
            name="insula-loop-watch",
            daemon=True,
        )
        watch.start()

    def _name_what_blocks(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        named = None
        while not self._ended.wait(self._blocked_seconds / 2):
            expected = self._expected
            late = self._clock.monotonic() - expected
            if late >= self._blocked_seconds and expected != named:
                named = expected
                task = asyncio.current_task(loop)
                log.warning(
                    "loop.blocked",
                    seconds=round(late, 1),
                    task=task.get_name() if task is not None else None,
                    stack=stacks.of_thread(thread),
                )
