"""When the runs in memory are to be looked at."""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterator
from datetime import datetime
from uuid import UUID

SPARE = 64
"""How many timers of runs that are gone may be left among those of the others."""


class Timers:
    """Moments and runs, by id: a timer holds no run in memory, and none that came back anew."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, UUID]] = []
        self._prune_at = SPARE

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def first(self) -> datetime | None:
        """The earliest moment."""
        return self._heap[0][0] if self._heap else None

    def watch(self, run: UUID, moment: datetime) -> None:
        """Have the run looked at then."""
        heapq.heappush(self._heap, (moment, run))

    def due(self, now: datetime) -> Iterator[UUID]:
        """Yield the runs whose moment has come, each timer once."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[1]

    def prune(self, here: Container[UUID]) -> None:
        """Drop the timers of runs that are not `here`, once they may be the most."""
        if len(self._heap) > self._prune_at:
            self._heap = [timer for timer in self._heap if timer[1] in here]
            heapq.heapify(self._heap)
            self._prune_at = 2 * len(self._heap) + SPARE
