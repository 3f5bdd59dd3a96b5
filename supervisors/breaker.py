"""The circuit breaker of a server that has no room for another connection: one for all tenants.

The keeper sees nothing of that: it has its connection. So a tenant probes, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from orchestrator.engine.pulse import Pulse
from orchestrator.model.errors import DatabaseFull
from supervisors.slot import Slot

PROBE_SECONDS = 1.0
"""While the server is full, one connection is tried so often, whoever wants one."""


class Breaker:
    """Closed while connections can be had; open from the first one that found the server full.

    While it is open, one slot at a time is let through: what comes of that is known to all.
    """

    def __init__(self) -> None:
        self.full: str | None = None
        self._probe_due = False
        self._prober: Slot | None = None
        self._opened = Pulse()
        self._look_again: Callable[[], None] = lambda: None

    async def run(self, look_again: Callable[[], None]) -> None:
        """Let a probe through now and then, for ever; `look_again` is told, and of the end too."""
        self._look_again = look_again
        while True:
            if self.full is None:
                await self._opened.wait()
            await anyio.sleep(PROBE_SECONDS)
            self.let_one_through()

    def let_one_through(self) -> None:
        """Let the next one that asks connect, and have those who wait ask."""
        self._probe_due = True
        self._look_again()

    def admits(self, slot: Slot) -> bool:
        """Tell whether the slot may connect now; while the server is full, that is the probe."""
        if self.full is None or slot is self._prober:
            return True
        if self._probe_due:
            self._probe_due, self._prober = False, slot
            return True
        return False

    def check(self, slot: Slot) -> None:
        """Raise DatabaseFull for a slot that may not connect now."""
        if not self.admits(slot):
            raise DatabaseFull(self.full or "")

    def trip(self, error: DatabaseFull) -> None:
        """Open it: a connection was refused because all are taken."""
        self.full, self._prober, self._probe_due = str(error), None, False
        self._opened.beat()

    def close(self) -> None:
        """Close it: a connection was had."""
        if self.full is not None:
            self.full = self._prober = None
            self._look_again()
