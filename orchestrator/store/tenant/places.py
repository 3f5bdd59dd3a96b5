"""How many connections tasks may use at a time: first come, first served, and none for ever."""

from __future__ import annotations

from collections import deque

import anyio

from orchestrator.model.errors import DatabaseUnavailable

APP_CONNECTIONS = 16
"""How many connections the application role of a tenant may have; provisioning sets that limit."""

TASK_PLACES = 10
NESTED_PLACES = 3
"""Of those, the ones for tasks, and for transactions that a task opens within another.

The rest is left for connections that are closed already and not gone from the server yet.
"""


class Place:
    """One place taken; given back once, however often it is asked for."""

    def __init__(self, places: Places, holder: str) -> None:
        self._places = places
        self.holder = holder
        self.since = anyio.current_time()

    def give_back(self) -> None:
        """Let the next in line have it."""
        self._places.free(self)


class Places:
    """So many at a time. Knows who holds them, so that whoever waits in vain can be told."""

    def __init__(self, total: int, *, what: str = "connections for tasks of this node") -> None:
        self._total = total
        self._what = what
        self._held: dict[Place, None] = {}
        self._line: deque[anyio.Event] = deque()
        self._granted = 0

    @property
    def used(self) -> int:
        """How many are taken."""
        return len(self._held)

    async def take(self, holder: str, *, seconds: float) -> Place:
        """Wait in line for a place; DatabaseUnavailable when none came in time."""
        if self._line or len(self._held) + self._granted >= self._total:
            await self._wait(seconds)
        place = Place(self, holder)
        self._held[place] = None
        return place

    def free(self, place: Place) -> None:
        """Take a place back."""
        if place in self._held:
            del self._held[place]
            self._grant()

    async def _wait(self, seconds: float) -> None:
        turn = anyio.Event()
        self._line.append(turn)
        try:
            with anyio.fail_after(seconds):
                await turn.wait()
        except BaseException as error:
            if turn in self._line:
                self._line.remove(turn)
            else:
                self._granted -= 1  # it came as we left
                self._grant()
            if isinstance(error, TimeoutError):
                raise self._none_came(seconds) from None
            raise
        self._granted -= 1

    def _grant(self) -> None:
        if self._line and len(self._held) + self._granted < self._total:
            self._granted += 1
            self._line.popleft().set()

    def _none_came(self, seconds: float) -> DatabaseUnavailable:
        now = anyio.current_time()
        oldest = min(self._held, key=lambda place: place.since)
        return DatabaseUnavailable(
            f"all {self._total} {self._what} were in use for {seconds:g} s; the longest, for "
            f"{now - oldest.since:.0f} s, by {oldest.holder}",
            hint="keep the transactions of tasks short, or let fewer tasks run at a time: "
            "limits.max_concurrent_tasks",
        )
