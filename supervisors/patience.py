"""How long a caller waits for its answer: as long as those who wait with its tenant get on."""

from __future__ import annotations

import math
from dataclasses import dataclass

REPLY_SECONDS = 15.0
"""How long a caller waits, counted anew whenever its tenant has come closer to being served."""


@dataclass(slots=True)
class Line:
    """Those who wait to be let in, in their order; `moved_at` is when somebody was let in last."""

    moved_at: float = -math.inf


@dataclass(slots=True)
class Turn:
    """Where a tenant stands on its way to being served. Times are the event loop's, in seconds.

    A crowd that wakes passes one line after the other: for a place, and for a start. Each that is
    let in is progress of all behind it; who is in counts for itself alone.
    """

    line: Line | None = None
    let_in_at: float = -math.inf

    def join(self, line: Line) -> None:
        """Wait in `line`, at its end."""
        self.line = line

    def let_in(self, now: float) -> None:
        """Leave the line at `now` because it is our turn; the others have moved up."""
        if self.line is not None:
            self.line.moved_at = now
        self.line, self.let_in_at = None, now

    def leave(self) -> None:
        """Leave the line without having had a turn: nobody has moved up by that."""
        self.line = None

    def until(self, asked: float) -> float:
        """Return until when whoever asked at `asked` waits, unless something moves before."""
        moved = self.line.moved_at if self.line is not None else -math.inf
        return max(asked, self.let_in_at, moved) + REPLY_SECONDS
