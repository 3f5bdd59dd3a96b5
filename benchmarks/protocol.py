"""What a measured process and the harness say to each other: arguments in, one JSON line out.

Standard library only: peers run it in virtual environments of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Figures = dict[str, float]


@dataclass(frozen=True)
class Order:
    """What one measured process is asked to do.

    `count` is how much of it (runs, items, seconds); `size` is what the case varies: tenants,
    finished runs in the tables, bytes of payload. `home` is a directory of its own. `schema` is
    one tenant's, for the peers.
    """

    work: str
    url: str
    home: Path
    count: int
    size: int
    schema: str = "public"

    def arguments(self) -> list[str]:
        """Return the command line that `serve` reads this from."""
        return [
            self.work, f"--url={self.url}", f"--home={self.home}", f"--count={self.count}",
            f"--size={self.size}", f"--schema={self.schema}",
        ]  # fmt: skip


Work = Callable[[Order], Awaitable[Figures]]
SetUp = Callable[[Order], Awaitable[None]]


class WrongResult(Exception):
    """The work was not done, or not all of it: its time says nothing."""


def serve(works: Mapping[str, Work], set_up: SetUp) -> None:
    """Do what the command line asks for; print the figures and the processor time they took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=sorted(works))
    parser.add_argument("--url", required=True, help="a superuser's postgresql:// URL")
    parser.add_argument("--home", type=Path, required=True, help="a directory to write to")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--size", type=int, default=1)
    parser.add_argument("--schema", default="public", help="of the tenant")
    parser.add_argument("--set-up", action="store_true", help="make tables and tenants, only")
    options = parser.parse_args()
    order = Order(
        options.work, options.url, options.home, options.count, options.size, options.schema
    )
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        if options.set_up:
            runner.run(_all(set_up, order))
            return
        cpu = time.process_time()
        figures = runner.run(_all(works[order.work], order))
        figures["client_cpu_seconds"] = time.process_time() - cpu
    print(json.dumps(figures), flush=True)


async def _all(function: Callable[[Order], Awaitable[Any]], order: Order) -> Any:
    return await function(order)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's where it is installed: some peers ask for it, none is hurt by it."""
    try:
        made: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(
            "uvloop"
        ).new_event_loop
    except ImportError:
        return None
    return made


def rate(count: float, began: float) -> float:
    """Return how many a second since `began` (perf_counter)."""
    return count / (time.perf_counter() - began)


def percentiles(seconds: Sequence[float]) -> Figures:
    """Return p50, p95 and p99 in milliseconds."""
    cuts = statistics.quantiles((1000 * each for each in seconds), n=100, method="inclusive")
    return {"p50_ms": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98]}


async def until(
    done: Callable[[], bool | Awaitable[bool]], *, look: float = 0.005, seconds: float = 300.0
) -> None:
    """Return when `done()`; WrongResult when it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = done()
        if answer if isinstance(answer, bool) else await answer:
            return
        if time.monotonic() > deadline:
            raise WrongResult(f"not done after {seconds:g} s")
        await asyncio.sleep(look)
