"""The gate in front of every start: a few at a time, and none to a database that is in doubt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from orchestrator.store.outage import Reach
from supervisors.patience import Line
from supervisors.slot import Slot

AT_ONCE = 8


class Starts:
    """Bounds what a crowd that wakes asks of its server, above all of one that has died.

    Those who are let in first find that out, and have the keeper look. The rest wait for its word
    and end with that, instead of trying as well. `reaches` are all that has to answer.
    """

    def __init__(self, *reaches: Reach, at_once: int = AT_ONCE) -> None:
        self._reaches = reaches
        self._places = anyio.CapacityLimiter(at_once)
        self._line = Line()
        self._waiting: set[Slot] = set()

    @asynccontextmanager
    async def turn(self, slot: Slot) -> AsyncIterator[None]:
        """Hold a place while the body runs; DatabaseUnavailable when the keeper found no server.

        A tenant that was asked to stop meanwhile is let in at once: it sees that itself.
        """
        async with self._let_in(slot):
            self._waiting.add(slot)
            try:
                while any(r.in_doubt for r in self._reaches) and slot.stop_wanted is None:
                    await slot.attention()
            finally:
                self._waiting.discard(slot)
            for reach in self._reaches:
                reach.check()
            yield

    @asynccontextmanager
    async def _let_in(self, slot: Slot) -> AsyncIterator[None]:
        """Hold one of the places, which are given in the order of coming."""
        slot.turn.join(self._line)
        try:
            async with self._places:
                slot.turn.let_in(anyio.current_time())
                yield
        finally:
            slot.turn.leave()

    def look_again(self) -> None:
        """Have those look around that wait for the keeper's word."""
        for slot in self._waiting:
            slot.look()
