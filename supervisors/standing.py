"""What the node may believe of itself: that its row lives, and that the database answers.

Written by the keeper's thread, read by everybody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.model.errors import DatabaseUnavailable

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Return seconds since the machine started, those that it slept included."""
    return time.clock_gettime(_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Outage:
    """Since when the database has not answered, and what was heard last."""

    since: datetime
    error: str


@dataclass(frozen=True, slots=True)
class _Word:
    """The keeper's last word. `term` grows whenever the row may have been expired in between."""

    until: float = -math.inf
    since: float = math.inf
    term: int = 0


class Standing:
    """Until when the node's row is alive for certain, judged by this machine alone.

    A renewal is asked for at a moment of ours and counts on the database from some later moment on,
    so the row can not expire earlier than its lifetime after the asking.
    """

    def __init__(self, expiry: float, clock: Callable[[], float] = elapsed) -> None:
        self.outage: Outage | None = None
        self.words = 0
        self._asked = False
        self._expiry = expiry
        self._clock = clock
        self._word = _Word()
        self._listeners: list[Callable[[], None]] = []
        self._ask: Callable[[], None] = lambda: None

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
        self.outage = None
        self._tell()

    def lost(self, error: str) -> None:
        """Note that the database did not answer, or said no."""
        since = self.outage.since if self.outage else datetime.now(UTC)
        self.outage = Outage(since, error)
        self._tell()

    def answer(self, ask: Callable[[], None]) -> None:
        """Have `ask` called, from any thread, when somebody doubts that the database is there."""
        self._ask = ask

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

    @property
    def in_doubt(self) -> bool:
        """True from when somebody could not reach the database until the keeper has looked."""
        return self._asked and self.outage is None

    def doubt(self) -> None:
        """Have the keeper look now whether the database is there."""
        self._asked = True
        self._ask()

    def check(self) -> None:
        """Raise DatabaseUnavailable while the keeper has found that nobody can connect.

        It alone tries then.
        """
        outage = self.outage
        if outage is not None:
            raise DatabaseUnavailable(outage.error)

    def listen(self, call: Callable[[], None]) -> None:
        """Have `call` called at every word of the keeper, from its thread."""
        self._listeners.append(call)

    def _tell(self) -> None:
        self.words += 1
        self._asked = False
        for call in self._listeners:
            call()
