"""What the node may believe of itself: that its row lives, and that the database answers.

Written by the keeper's thread, read by everybody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.store.outage import Reach

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Return seconds since the machine started, those that it slept included."""
    return time.clock_gettime(_BOOTTIME)


@dataclass(frozen=True, slots=True)
class _Word:
    """The keeper's last word. `term` grows whenever the row may have been expired in between."""

    until: float = -math.inf
    since: float = math.inf
    term: int = 0


class Standing(Reach):
    """Until when the node's row is alive for certain, judged by this machine alone.

    A renewal is asked for at a moment of ours and counts on the database from some later moment on,
    so the row can not expire earlier than its lifetime after the asking.
    """

    def __init__(self, expiry: float, clock: Callable[[], float] = elapsed) -> None:
        super().__init__()
        self._expiry = expiry
        self._clock = clock
        self._word = _Word()

    # -- what the keeper says ----------------------------------------------------------

    def now(self) -> float:
        """Return the time that `renewed` is to be told, taken before the renewal is asked for."""
        return self._clock()

    def renewed(self, asked: float) -> None:
        """Note a renewal that was asked for at `asked` and has been confirmed now.

        It may have taken effect as late as now: was the row alive until then?
        """
        before, now = self._word, self._clock()
        until = asked + self._expiry
        if now < before.until:
            self._word = _Word(until, before.since, before.term)
        else:
            self._word = _Word(until, now, before.term + 1)
        self.found()

    # -- what the others read ----------------------------------------------------------

    @property
    def holds(self) -> bool:
        """True while nobody can have found our row expired."""
        return self._clock() < self._word.until

    @property
    def serves(self) -> bool:
        """True while a tenant may be taken, and can be."""
        return self.holds and self.outage is None

    @property
    def steady(self) -> bool:
        """True when our row has lived without a gap for as long as a row lives.

        After an outage whoever comes back first sees everybody else's row expired. Only who gave
        the others that time may conclude from it that they are dead.
        """
        return self.holds and self._clock() - self._word.since >= self._expiry

    @property
    def term(self) -> int:
        """A number that grows with each gap: what was taken in an earlier one may be lost."""
        return self._word.term
