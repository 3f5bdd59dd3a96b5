"""An event loop whose time passes only while all tasks wait, and then at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jump(selectors.DefaultSelector):
    """Instead of waiting for the next timer, goes to its time."""

    seconds = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found and timeout:
            self.seconds += timeout
        return found


class HandLoop(asyncio.SelectorEventLoop):
    """Runs coroutines that wait for timers and for each other, never for the world."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Return the seconds since the loop was made."""
        return self._jump.seconds

    def leap(self, seconds: float) -> None:
        """Let time pass in which nobody runs, as when the process is frozen."""
        self._jump.seconds += seconds

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run until `coroutine` has ended."""
        return self.run_until_complete(coroutine)
