"""E, for the peers: kill -9 with runs in flight, a restart at once, until all are started again."""

from __future__ import annotations

import asyncio
import time
from asyncio.subprocess import Process
from contextlib import suppress
from dataclasses import replace

from benchmarks.peers.spread import command
from benchmarks.peers.work import Life, Open
from benchmarks.protocol import Figures, Order, WrongResult, until

LIVE = "live"
"""The work of the process that is killed, and of the one after it."""

BOUND_SECONDS = 90.0
"""After that the rest is told as still waiting."""


async def recovery(opened: Open, order: Order) -> Figures:
    """Kill a worker with `count` runs in flight; start the next, wait until it has them all (E)."""
    path = order.home / "lives"
    path.touch()
    first, second = Life(path, 1), Life(path, 2)
    async with opened(order) as library:
        await library.submit("hold", order.count)
        process = await _start(order, first)
        await until(lambda: len(first.started) == order.count, look=0.05, seconds=30)
        process.kill()
        killed = time.monotonic()
        await process.wait()
        process = await _start(order, second)
        bound = BOUND_SECONDS - (time.monotonic() - killed)
        with suppress(WrongResult):  # the figures tell how many still wait
            await until(lambda: len(second.started) == order.count, look=0.05, seconds=bound)
        process.kill()
        await process.wait()
    resumed = second.started
    waiting = order.count - len(resumed)
    return {
        "kill_to_last_resumed_s": BOUND_SECONDS if waiting else max(resumed.values()) - killed,
        "still_waiting": float(waiting),
    }


async def live(opened: Open, order: Order) -> Figures:
    """Be a worker in the life that `size` numbers, until this process is killed."""
    async with opened(order) as library:
        library.tally.life = Life(order.home / "lives", order.size)
        async with library.working():
            await asyncio.Event().wait()
    return {}


async def _start(order: Order, life: Life) -> Process:
    child = replace(order, work=LIVE, size=life.number)
    return await asyncio.create_subprocess_exec(*command(child))
