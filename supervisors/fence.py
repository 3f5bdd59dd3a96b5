"""Cuts off what this node serves as soon as another node may have taken it.

After a freeze of the process, this is to come before anything else goes on: so it is a plain timer
of the event loop, which runs before the tasks that the freeze made ready.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog

from orchestrator.model.clock import until_next
from supervisors.standing import Standing

LOOK_SECONDS = 0.25

log = structlog.get_logger(__name__)


class Fence:
    """Calls `cut` when the node's row may have expired, and `look` when the keeper says a word."""

    def __init__(
        self, standing: Standing, *, cut: Callable[[], None], look: Callable[[], None]
    ) -> None:
        self._standing = standing
        self._cut = cut
        self._look = look
        self._term = standing.term
        self._held = standing.holds

    def check(self) -> None:
        """Cut off what was begun in a term that is over, whether or not a new one has begun."""
        term, holds = self._standing.term, self._standing.holds
        if self._held and (term != self._term or not holds):
            log.error("node.fenced", reason="its row may have expired, so others may serve")
            self._cut()
        self._term, self._held = term, holds

    @contextmanager
    def up(self) -> Iterator[None]:
        """Keep looking while the body runs."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def look() -> None:
            nonlocal timer
            self.check()
            timer = loop.call_later(until_next(LOOK_SECONDS, time.monotonic()), look)

        def hear() -> None:
            with suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(self._hear)

        timer = loop.call_later(LOOK_SECONDS, look)
        self._standing.listen(hear)
        try:
            yield
        finally:
            timer.cancel()

    def _hear(self) -> None:
        self.check()
        self._look()
