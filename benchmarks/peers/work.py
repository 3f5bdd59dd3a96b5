"""The work itself, alike for every peer: what a script adds is how its library does each part.

Here are A, B and C; `spread` has D, `recovery` E.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.protocol import Figures, Order, WrongResult, percentiles, rate, until

STEPS = 5
WARM_UP = 20
PAUSE = 0.002


@dataclass(frozen=True)
class Life:
    """What a process that will be killed leaves behind: which run was started when, in which life.

    Each is a line of a file: the number of the life, the run, the moment (of the clock that all
    processes of the machine share).
    """

    path: Path
    number: int

    def note(self, run: object) -> None:
        """Add a line; one write is not torn by the kill."""
        with self.path.open("ab", buffering=0) as file:
            file.write(f"{self.number} {run} {time.monotonic()}\n".encode())

    @property
    def started(self) -> dict[str, float]:
        """When each run was started first in this life."""
        found: dict[str, float] = {}
        for line in self.path.read_text(encoding="utf-8").splitlines():
            number, run, moment = line.split()
            if int(number) == self.number:
                found.setdefault(run, float(moment))
        return found


@dataclass
class Tally:
    """What the handlers have seen; they all run in this process."""

    started: list[float] = field(default_factory=list)
    ended: int = 0
    life: Life | None = None
    """Of a process that is to be killed, or was."""

    def start(self) -> None:
        """Note that a handler was entered."""
        self.started.append(time.monotonic())

    def end(self) -> None:
        """Note that a handler is about to return."""
        self.ended += 1

    async def hold(self, run: object) -> None:
        """Be the work of E: hold on until the process is killed, return in its next life."""
        if self.life is None:
            raise WrongResult("this run is to be held by a process that will be killed")
        self.life.note(run)
        if self.life.number == 1:
            await asyncio.Event().wait()


class Library(Protocol):
    """A peer, connected."""

    tally: Tally

    async def submit(self, work: str, count: int) -> None:
        """Return when `count` runs of "one_step", "five_steps" or "hold" are durable."""
        ...

    def working(self) -> AbstractAsyncContextManager[None]:
        """Run what is submitted while the body does, in this process."""
        ...

    async def unfinished(self) -> int:
        """Return how many runs are not durably ended."""
        ...


Open = Callable[[Order], AbstractAsyncContextManager[Library]]


async def one_step(opened: Open, order: Order) -> Figures:
    """Submit, then run, then do both together (A)."""
    async with opened(order) as library:
        async with library.working():
            await both(library, "one_step", WARM_UP)
        began = time.perf_counter()
        await library.submit("one_step", order.count)
        submit = rate(order.count, began)
        before = library.tally.ended
        async with library.working():
            began = time.perf_counter()
            await ended(library, before + order.count)
            run = rate(order.count, began)
        async with library.working():
            await both(library, "one_step", WARM_UP)  # it listens by now
            began = time.perf_counter()
            await both(library, "one_step", order.count)
            together = rate(order.count, began)
    return {
        "submit_runs_per_s": submit,
        "run_runs_per_s": run,
        "runs_per_s": together,
        "measured_runs": 2.0 * order.count,
    }


async def chains(opened: Open, order: Order) -> Figures:
    """Run workflows of five steps (B)."""
    async with opened(order) as library, library.working():
        await both(library, "five_steps", WARM_UP)
        began = time.perf_counter()
        await both(library, "five_steps", order.count)
        steps = rate(order.count * STEPS, began)
    return {"steps_per_s": steps, "measured_steps": float(order.count * STEPS)}


async def latency(opened: Open, order: Order) -> Figures:
    """Do one run after the other; its handler says when it was entered (C)."""
    taken = []
    async with opened(order) as library, library.working():
        await both(library, "one_step", WARM_UP)
        for _ in range(order.count):
            began = time.monotonic()
            await both(library, "one_step", 1)
            taken.append(library.tally.started[-1] - began)
            await asyncio.sleep(PAUSE)
    return {**percentiles(taken), "measured_runs": float(order.count)}


async def both(library: Library, work: str, count: int) -> None:
    """Submit runs and return when they have ended."""
    before = library.tally.ended
    await library.submit(work, count)
    await ended(library, before + count)


async def ended(library: Library, total: int) -> None:
    """Return when `total` handlers have returned and the library has stored that they have."""
    await until(lambda: library.tally.ended >= total)
    if library.tally.ended > total:
        raise WrongResult(f"{library.tally.ended - total} runs were done twice")

    await stored(library)


async def stored(library: Library) -> None:
    """Return when the library has stored the end of all its runs."""

    async def done() -> bool:
        return await library.unfinished() == 0

    await until(done)
