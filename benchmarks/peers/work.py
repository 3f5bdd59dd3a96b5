"""The work itself, alike for every peer: what a script adds is how its library does each part."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.protocol import (
    Figures,
    Order,
    SetUp,
    Work,
    WrongResult,
    percentiles,
    rate,
    serve,
    until,
)

STEPS = 5
WARM_UP = 20
PAUSE = 0.002


@dataclass
class Tally:
    """What the handlers have seen; they all run in this process."""

    started: list[float] = field(default_factory=list)
    ended: int = 0

    def start(self) -> None:
        """Note that a handler was entered."""
        self.started.append(time.monotonic())

    def end(self) -> None:
        """Note that a handler is about to return."""
        self.ended += 1


class Library(Protocol):
    """A peer, connected."""

    tally: Tally

    async def submit(self, work: str, count: int) -> None:
        """Return when `count` runs of "one_step" or "five_steps" are durable."""
        ...

    def working(self) -> AbstractAsyncContextManager[None]:
        """Run what is submitted while the body does, in this process."""
        ...

    async def unfinished(self) -> int:
        """Return how many runs are not durably ended."""
        ...


Open = Callable[[Order], AbstractAsyncContextManager[Library]]


def measure(opened: Open, set_up: SetUp, *, steps: bool) -> None:
    """Be the script: do what the command line asks for with the library that `opened` yields."""
    works: dict[str, Work] = {
        "A": lambda order: _one_step(opened, order),
        "C": lambda order: _latency(opened, order),
    }
    if steps:
        works["B"] = lambda order: _chains(opened, order)
    serve(works, set_up)


async def _one_step(opened: Open, order: Order) -> Figures:
    async with opened(order) as library:
        async with library.working():
            await _both(library, "one_step", WARM_UP)
        began = time.perf_counter()
        await library.submit("one_step", order.count)
        submit = rate(order.count, began)
        before = library.tally.ended
        async with library.working():
            began = time.perf_counter()
            await _ended(library, before + order.count)
            run = rate(order.count, began)
        async with library.working():
            await _both(library, "one_step", WARM_UP)  # it listens by now
            began = time.perf_counter()
            await _both(library, "one_step", order.count)
            both = rate(order.count, began)
    return {
        "submit_runs_per_s": submit,
        "run_runs_per_s": run,
        "runs_per_s": both,
        "measured_runs": 2.0 * order.count,
    }


async def _chains(opened: Open, order: Order) -> Figures:
    async with opened(order) as library, library.working():
        await _both(library, "five_steps", WARM_UP)
        began = time.perf_counter()
        await _both(library, "five_steps", order.count)
        steps = rate(order.count * STEPS, began)
    return {"steps_per_s": steps, "measured_steps": float(order.count * STEPS)}


async def _latency(opened: Open, order: Order) -> Figures:
    taken = []
    async with opened(order) as library, library.working():
        await _both(library, "one_step", WARM_UP)
        for _ in range(order.count):
            began = time.monotonic()
            await _both(library, "one_step", 1)
            taken.append(library.tally.started[-1] - began)
            await asyncio.sleep(PAUSE)
    return {**percentiles(taken), "measured_runs": float(order.count)}


async def _both(library: Library, work: str, count: int) -> None:
    before = library.tally.ended
    await library.submit(work, count)
    await _ended(library, before + count)


async def _ended(library: Library, total: int) -> None:
    """Return when `total` handlers have returned and the library has stored that they have."""
    await until(lambda: library.tally.ended >= total)
    if library.tally.ended > total:
        raise WrongResult(f"{library.tally.ended - total} runs were done twice")

    async def stored() -> bool:
        return await library.unfinished() == 0

    await until(stored)
