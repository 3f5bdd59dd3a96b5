"""Wakes everyone who waits now.

Whoever checks and then waits without an await between misses nothing.
"""

from __future__ import annotations

import asyncio


class Pulse:
    """A condition that carries no state: waiters look again at whatever they wait for."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        # Made by who waits: most beats wake nobody. The event loop's own, for one of anyio looks
        # for the kind of loop each time it is made: five calls in place of twenty.
        self._event: asyncio.Event | None = None

    def beat(self) -> None:
        """Wake all who wait."""
        event, self._event = self._event, None
        if event is not None:
            event.set()

    async def wait(self) -> None:
        """Return at the next beat."""
        if self._event is None:
            self._event = asyncio.Event()
        await self._event.wait()
