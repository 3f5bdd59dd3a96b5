"""The clock of a run in a test, and those who sleep by it."""

from __future__ import annotations

from datetime import datetime

import anyio
import anyio.lowlevel

from orchestrator.model.clock import HandClock


class MovedClock(HandClock):
    """Stands still until it is moved; then wakes who sleeps until a moment that has come."""

    def __init__(self, start: datetime) -> None:
        super().__init__(start)
        self._sleepers: dict[anyio.Event, datetime] = {}

    @property
    def next_due(self) -> datetime | None:
        """When the first of them wakes."""
        return min(self._sleepers.values(), default=None)

    def move_to(self, moment: datetime) -> None:
        """Move to a moment, unless it has passed."""
        self.advance(max(0.0, (moment - self.now()).total_seconds()))
        for event, due_at in list(self._sleepers.items()):
            if due_at <= self.now():
                del self._sleepers[event]
                event.set()

    async def sleep_until(self, moment: datetime) -> None:
        """Return when the clock has been moved there."""
        if moment <= self.now():
            await anyio.lowlevel.checkpoint()
            return
        event = anyio.Event()
        self._sleepers[event] = moment
        try:
            await event.wait()
        finally:
            self._sleepers.pop(event, None)
