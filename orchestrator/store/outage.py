"""Whether a server answers, as whoever looks after it has found last; everybody else reads that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.model.errors import DatabaseUnavailable

CONTROL = "the database"


@dataclass(frozen=True, slots=True)
class Outage:
    """Since when what has not answered, and what was heard last."""

    since: datetime
    error: str
    what: str = CONTROL

    @property
    def told(self) -> str:
        """What was heard, with the name of a server that is one of several."""
        return self.error if self.what == CONTROL else f"{self.what}: {self.error}"

    @property
    def sentence(self) -> str:
        """All of it, for whoever is refused."""
        return f"{self.what} has not answered since {self.since:%H:%M:%S} UTC: {self.error}"

    def refusal(self) -> DatabaseUnavailable:
        """Return the error for whoever needs the server meanwhile."""
        return DatabaseUnavailable(
            self.sentence,
            hint="it is tried again all the time; `insula status` tells when it is back",
        )


class Reach:
    """The last word of whoever looks after a server, and the doubts of those who use it."""

    def __init__(self, what: str = CONTROL) -> None:
        self.outage: Outage | None = None
        self.words = 0
        self._what = what
        self._asked = False
        self._listeners: list[Callable[[], None]] = []
        self._ask: Callable[[], None] = lambda: None

    # -- what the one who looks says ---------------------------------------------------

    def found(self) -> None:
        """Note that the server has answered."""
        self.outage = None
        self._tell()

    def lost(self, error: str) -> None:
        """Note that the server did not answer, or said no."""
        since = self.outage.since if self.outage else datetime.now(UTC)
        self.outage = Outage(since, error, self._what)
        self._tell()

    def answer(self, ask: Callable[[], None]) -> None:
        """Have `ask` called, from any thread, when somebody doubts that the server is there."""
        self._ask = ask

    # -- what the others read ----------------------------------------------------------

    @property
    def in_doubt(self) -> bool:
        """True from when somebody could not reach the server until it has been looked after."""
        return self._asked and self.outage is None

    def doubt(self) -> None:
        """Have it looked now whether the server is there."""
        self._asked = True
        self._ask()

    def check(self) -> None:
        """Raise DatabaseUnavailable while it was found that nobody can connect."""
        outage = self.outage
        if outage is not None:
            raise DatabaseUnavailable(outage.told)

    def listen(self, call: Callable[[], None]) -> None:
        """Have `call` called at every word."""
        self._listeners.append(call)

    def _tell(self) -> None:
        self.words += 1
        self._asked = False
        for call in self._listeners:
            call()
