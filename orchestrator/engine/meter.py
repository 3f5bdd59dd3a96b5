"""Counts what ends with the entries of a run: its attempts, how long they took, and the run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from orchestrator.engine import entries
from orchestrator.engine.entries import AnyEntry
from orchestrator.store.tenant.journal import Ended


class Meter:
    """Of one run: when its attempts under way `began`, and what `ended` since the last flush.

    An attempt counts when an entry ends it, whole milliseconds, rounded up. What is cut off by the
    end of its run counts until then. What a crash cuts off counts nothing: it is made again.
    """

    __slots__ = ("began", "ended")

    def __init__(self) -> None:
        self.began: dict[str, float] = {}
        self.ended: list[int] | None = None

    def note(self, entry: AnyEntry) -> None:
        """Count what `entry`, one of `ENDS`, ends."""
        ended = self.ended = self.ended or [0] * len(_PLACES)
        place = _RUN_ENDS.get(type(entry))
        over = list(self.began) if place is not None else [getattr(entry, "task", "")]
        if place is not None:
            ended[place] += 1
        for task in over:
            began = self.began.pop(task, None)
            if began is not None:
                ended[_ATTEMPTS] += 1
                ended[_TASK_MS] += math.ceil((monotonic() - began) * 1000)

    @contextmanager
    def aside(self, task: str) -> Iterator[int]:
        """Yield the milliseconds of the attempt under way, for the body to count with its commit.

        When that raises, the attempt counts here again.
        """
        began = self.began.pop(task)
        try:
            yield math.ceil((monotonic() - began) * 1000)
        except BaseException:
            self.began[task] = began
            raise

    def take(self) -> Ended | None:
        """Return what has ended since the last time; None when nothing has."""
        ended, self.ended = self.ended, None
        return Ended(*ended) if ended is not None and any(ended) else None

    def put_back(self, refused: Ended | None) -> None:
        """Keep the attempts of a flush that was not stored; how the run ended was not stored."""
        if refused is not None:
            ended = self.ended = self.ended or [0] * len(_PLACES)
            ended[_ATTEMPTS] += refused.attempts
            ended[_TASK_MS] += refused.task_ms


_PLACES = {name: place for place, name in enumerate(Ended.__struct_fields__)}
_ATTEMPTS, _TASK_MS = _PLACES["attempts"], _PLACES["task_ms"]
_RUN_ENDS: dict[type[AnyEntry], int] = {
    entries.RunSucceeded: _PLACES["succeeded"],
    entries.RunFailed: _PLACES["failed"],
    entries.RunDied: _PLACES["dead"],
    entries.RunCancelled: _PLACES["cancelled"],
}
ENDS: frozenset[type[AnyEntry]] = frozenset(
    {
        *_RUN_ENDS,
        entries.TaskSucceeded,
        entries.TaskRetrying,
        entries.TaskFailed,
        entries.TaskParked,
    }
)
"""The entries that count."""
