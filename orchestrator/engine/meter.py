"""Counts what ends with the entries of a run: its attempts, how long they took, and the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from time import monotonic

from orchestrator.engine import entries
from orchestrator.engine.entries import AnyEntry
from orchestrator.store.tenant.journal import Ended

_FIELDS = Ended.__struct_fields__
_ATTEMPTS, _TASK_MS = _FIELDS.index("attempts"), _FIELDS.index("task_ms")


class Meter:
    """Of one run: when its attempts under way `began`, and what `ended` since the last flush.

    An attempt counts when an entry ends it, whole milliseconds, rounded up. What is cut off by the
    end of its run counts until then. What a crash cuts off counts nothing: it is made again.
    `ended` is in the order of `Ended`; None when nothing has.
    """

    __slots__ = ("began", "ended")

    def __init__(self) -> None:
        self.began: dict[str, float] = {}
        self.ended: list[int] | None = None

    def note(self, entry: AnyEntry) -> None:
        """Count what `entry`, one of `ENDS`, ends."""
        # Called for each step of each run, so it calls nothing of ours itself.
        ended = self.ended
        if ended is None:
            ended = self.ended = [0] * len(_FIELDS)
        place = _RUN_ENDS.get(type(entry))
        if place is None:
            began = self.began.pop(entry.task, None)  # type: ignore[union-attr]  # the others have it
            if began is not None:
                ended[_ATTEMPTS] += 1
                ended[_TASK_MS] += ceil((monotonic() - began) * 1000)
            return
        ended[place] += 1
        for began in self.began.values():
            ended[_ATTEMPTS] += 1
            ended[_TASK_MS] += ceil((monotonic() - began) * 1000)
        self.began.clear()

    @contextmanager
    def aside(self, task: str) -> Iterator[int]:
        """Yield the milliseconds of the attempt under way, for the body to count with its commit.

        When that raises, the attempt counts here again.
        """
        began = self.began.pop(task)
        try:
            yield ceil((monotonic() - began) * 1000)
        except BaseException:
            self.began[task] = began
            raise

    def put_back(self, refused: list[int] | None) -> None:
        """Keep the attempts of a flush that was not stored; how the run ended was not stored."""
        if refused is not None:
            ended = self.ended or [0] * len(_FIELDS)
            for place in (_ATTEMPTS, _TASK_MS):
                ended[place] += refused[place]
            self.ended = ended


_RUN_ENDS: dict[type[AnyEntry], int] = {
    entries.RunSucceeded: _FIELDS.index("succeeded"),
    entries.RunFailed: _FIELDS.index("failed"),
    entries.RunDied: _FIELDS.index("dead"),
    entries.RunCancelled: _FIELDS.index("cancelled"),
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
