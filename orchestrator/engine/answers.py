"""Durable calls answered from what a history holds: nothing is done and nothing recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NoReturn

import anyio.lowlevel
import msgspec

from orchestrator.engine.progress import Place, Step, TaskProgress
from orchestrator.workflow.durable import Child, ChildFailed, ChildRequest

LOOP_TURNS = 20
"""So many turns of the event loop let other tasks come to their next call."""

Why = Literal["differs", "new", "waits", "database"]


class Stop(BaseException):
    """Ends the run of a task where the history says no more; no `except Exception` catches it.

    `place` is the durable call at which it ends.
    """

    def __init__(self, why: Why, place: Place, expected: str, found: str) -> None:
        super().__init__(why)
        self.why = why
        self.place = place
        self.expected = expected
        self.found = found


class Answers:
    """Answers the durable calls of a task from the history, and notes how far it came."""

    def __init__(self, past: TaskProgress, end: datetime) -> None:
        self._past = past
        self._end = end
        self._branches: dict[asyncio.Task[Any] | None, int] = {}
        self._next: list[int] = []
        self.answered = 0
        self.stop: Stop | None = None

    async def step(self, name: str, function: Callable[..., Any], args: Sequence[Any]) -> Any:  # noqa: ARG002
        """Return the recorded result; the function is never called."""
        return msgspec.json.decode((await self._recorded("step", name)).value)

    async def sleep(self, span: timedelta) -> None:  # noqa: ARG002
        """Return at once when the recorded sleep is over."""
        known = await self._recorded("sleep", "")
        if known.due_at is None or known.due_at > self._end:
            raise await self._unfinished("sleep")

    async def wait_signal(self, name: str, timeout: timedelta | None) -> Any:  # noqa: ARG002, ASYNC109
        """Return the recorded payload, or give up as recorded."""
        known = await self._recorded("signal", name)
        if known.missed:
            raise TimeoutError(f"no signal {name!r} came in time")
        if not known.done:
            raise await self._unfinished(told("signal", name))
        return msgspec.json.decode(known.value)

    async def start_child(self, request: ChildRequest) -> Child:
        """Return the recorded child."""
        known = await self._recorded("child", request.workflow)
        if known.child is None:
            raise await self._unfinished(told("child", request.workflow))
        return Child(known.child, request.workflow)

    async def wait(self, child: Child) -> Any:
        """Return the recorded output of the child, or fail as recorded."""
        known = await self._recorded("wait", str(child.id))
        if known.error is not None:
            raise ChildFailed(child.id, known.error.type, known.error.message)
        return msgspec.json.decode(known.value)

    async def map(
        self,
        name: str,
        function: Callable[[Any], Any],  # noqa: ARG002
        items: Sequence[Any],
        concurrency: int,  # noqa: ARG002
    ) -> list[Any]:
        """Return the recorded results; the function is never called."""
        done = (await self._recorded("map", name)).items
        if done and max(done) >= len(items):
            expected = f"map {name!r} with item {max(done)}"
            found = f"has {len(items)} items for it"
            raise self._stopped("differs", expected, found, self._last)
        missing = [index for index in range(len(items)) if index not in done]
        if missing:
            raise await self._unfinished(f"item {missing[0]} of map {name!r}")
        return [msgspec.json.decode(done[index]) for index in range(len(items))]

    def close(self) -> None:
        """Do nothing: nothing is written."""

    def refuse_database(self) -> NoReturn:
        """Stop: what it would answer is not in the history."""
        raise self._stopped("database", "", "uses ctx.db")

    @property
    def recorded(self) -> int:
        """How many durable calls the history has."""
        return len(self._past.steps or ())

    @property
    def missed(self) -> tuple[Place, str] | None:
        """The first recorded call that was not made, and what it was."""
        for place, known in sorted((self._past.steps or {}).items(), key=lambda item: item[0]):
            branch, number = place
            if branch >= len(self._next) or number >= self._next[branch]:
                return place, told(known.kind, known.name)
        return None

    async def _recorded(self, kind: str, name: str) -> Step:
        branch, number = place = self._here
        known = self._past.step(place)
        if known is None:
            raise self._stopped("new", "no further call", f"makes {told(kind, name)}", place)
        if (known.kind, known.name) != (kind, name):
            expected = told(known.kind, known.name)
            raise self._stopped("differs", expected, f"makes {told(kind, name)}", place)
        self._next[branch] = number + 1
        self.answered += 1
        # Calls that were made beside this one are made again, before its answer ends them.
        await anyio.lowlevel.checkpoint()
        return known

    @property
    def _here(self) -> Place:
        """The place of the next call; as in `durable`, each task of the loop counts its own."""
        branch = self._branches.setdefault(asyncio.current_task(), len(self._branches))
        if branch == len(self._next):
            self._next.append(0)
        return branch, self._next[branch]

    @property
    def _last(self) -> Place:
        branch, number = self._here
        return branch, number - 1

    async def _unfinished(self, what: str) -> Stop:
        # Code that made other calls beside this one goes on first, and may give this one up.
        place = self._last
        for _ in range(LOOP_TURNS):
            await anyio.lowlevel.checkpoint()
        return self._stopped("waits", "no end of it", f"waits for {what}", place)

    def _stopped(self, why: Why, expected: str, found: str, place: Place = (0, 0)) -> Stop:
        # The first one counts: user code may wrap it, or do more while it is on its way.
        self.stop = self.stop or Stop(why, place, expected, found)
        return self.stop


class NoDatabase:
    """In place of the tenant's database: its use ends the replay of the task."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def __getattr__(self, name: str) -> NoReturn:
        self._answers.refuse_database()


def told(kind: str, name: str) -> str:
    """Return how people are told of a durable call."""
    return f"{kind} {name!r}" if name else kind
