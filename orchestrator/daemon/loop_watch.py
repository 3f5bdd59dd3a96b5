"""Measures how late the event loop runs, and tells the watchdog that it turns."""

from __future__ import annotations

import anyio

from orchestrator.daemon.sd_notify import Notifier, watchdog_interval
from orchestrator.model.clock import Clock

LOOK_SECONDS = 0.5


class LoopWatch:
    """Looks at the event loop; `lag_ms` is how late the last look came.

    A blocked loop shows here and stops the signs of life.
    """

    def __init__(self, clock: Clock, notifier: Notifier) -> None:
        self._clock = clock
        self._notifier = notifier
        self.lag_ms = 0.0

    async def run(self) -> None:
        """Look for ever."""
        interval = watchdog_interval()
        pause = min(LOOK_SECONDS, interval) if interval else LOOK_SECONDS
        while True:
            asked = self._clock.monotonic()
            await anyio.sleep(pause)
            late = self._clock.monotonic() - asked - pause
            self.lag_ms = round(max(0.0, late) * 1000, 3)
            if interval:
                self._notifier.watchdog()
