"""How many runs were accepted within the last hour and day. Pure: the time is passed in."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Window:
    """Counts what happened within the last `span`, in steps of a sixtieth of it.

    A step leaves the window as a whole, so an answer is at most one step too strict, never too lax.
    """

    def __init__(self, span: timedelta) -> None:
        self._span = span
        self._step = span / 60
        self._steps: deque[tuple[datetime, int]] = deque()
        self._total = 0

    def add(self, moment: datetime, count: int) -> None:
        """Count `count` things at `moment`; moments never run backwards by more than a step."""
        if self._steps and moment - self._steps[-1][0] < self._step:
            began, before = self._steps[-1]
            self._steps[-1] = (began, before + count)
        else:
            self._steps.append((moment, count))
        self._total += count

    def take_back(self) -> None:
        """Count one of the latest things less: it did not happen after all."""
        for place in range(len(self._steps) - 1, -1, -1):
            began, count = self._steps[place]
            if count:
                self._steps[place] = (began, count - 1)
                self._total -= 1
                return

    def count(self, now: datetime) -> int:
        """Return how many things the window holds."""
        while self._steps and self._steps[0][0] + self._step <= now - self._span:
            self._total -= self._steps.popleft()[1]
        return self._total

    def wait(self, now: datetime, *, wanted: int, allowed: int) -> timedelta | None:
        """Return how long until `wanted` more fit; zero if they do now, None if they never can."""
        if wanted > allowed:
            return None
        held = self.count(now)
        for began, count in self._steps:
            if held + wanted <= allowed:
                return timedelta(0)
            held -= count
            leaves = began + self._step + self._span - now
            if held + wanted <= allowed:
                return leaves
        return timedelta(0)
