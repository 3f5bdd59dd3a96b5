"""D, for the peers: the work of A over many tenants, each in a schema of its own."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack
from dataclasses import replace

from benchmarks.peers.work import Open, Tally, both, stored
from benchmarks.protocol import Figures, Order, SetUp, WrongResult, rate, until

TENANT = "tenant"
"""The work of one tenant's process."""

UP_SECONDS = 110.0
"""So long the tenants' processes may take until they all are up."""


def tenants(order: Order) -> list[Order]:
    """Return each tenant's order: its schema, its share."""
    share = max(1, order.count // order.size)
    return [
        replace(order, work=TENANT, schema=f"tenant_{number}", count=share)
        for number in range(order.size)
    ]


def set_up_all(set_up: SetUp) -> SetUp:
    """Make it a set-up that does all tenants of D, one after the other."""

    async def all_of(order: Order) -> None:
        for each in tenants(order) if order.work == "D" else [order]:
            await set_up(each)

    return all_of


async def over_instances(opened: Open, order: Order) -> Figures:
    """Run an instance for each tenant in this process (D)."""
    async with AsyncExitStack() as stack:
        libraries = []
        for each in tenants(order):
            library = await stack.enter_async_context(opened(each))
            await stack.enter_async_context(library.working())
            libraries.append(library)
        await asyncio.gather(*(both(library, "one_step", 1) for library in libraries[:1]))
        tallies: dict[int, Tally] = {id(each.tally): each.tally for each in libraries}

        def ended() -> int:
            return sum(tally.ended for tally in tallies.values())

        share = max(1, order.count // order.size)
        before, total = ended(), share * order.size
        began = time.perf_counter()
        await asyncio.gather(*(library.submit("one_step", share) for library in libraries))
        await until(lambda: ended() >= before + total)
        for library in libraries:
            await stored(library)
        runs = rate(total, began)
    return {"runs_per_s": runs, "measured_runs": float(total)}


async def over_processes(opened: Open, order: Order) -> Figures:  # noqa: ARG001 - as the others
    """Run a process for each tenant (D)."""
    orders = tenants(order)
    processes = [await _started(each) for each in orders]
    lines = [asyncio.create_task(_line(process)) for process in processes]
    _, late = await asyncio.wait(lines, timeout=UP_SECONDS)
    up = sum(line.done() and line.result() == b"ready" for line in lines)
    if late or up < len(orders):
        raise WrongResult(f"{up} of {len(orders)} tenants had come up after {UP_SECONDS:g} s")
    began = time.perf_counter()
    for process in processes:
        await _say(process, b"go")
    ends = await asyncio.gather(*(_line(process) for process in processes))
    runs = rate(sum(each.count for each in orders), began)
    if failed := sum(end != b"done" for end in ends):
        raise WrongResult(f"{failed} of {len(orders)} tenants have failed")
    for process in processes:
        await process.wait()
    return {"runs_per_s": runs}


async def tenant(opened: Open, order: Order) -> Figures:
    """Be the process of one tenant: come up, say so, wait for the word, run the share."""
    async with opened(order) as library, library.working():
        await both(library, "one_step", 1)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await both(library, "one_step", order.count)
        print("done", flush=True)
    return {}


async def _started(order: Order) -> Process:
    return await asyncio.create_subprocess_exec(*command(order), stdin=PIPE, stdout=PIPE)


def command(order: Order) -> list[str]:
    """Return the command that does an order in another process of the same script."""
    specification = sys.modules["__main__"].__spec__
    if specification is None:
        raise RuntimeError("a peer's script runs as a module: python -m")
    return [sys.executable, "-m", specification.name, *order.arguments()]


async def _line(process: Process) -> bytes:
    if process.stdout is None:
        raise RuntimeError("the process was started without a pipe")
    return (await process.stdout.readline()).strip()


async def _say(process: Process, line: bytes) -> None:
    if process.stdin is None:
        raise RuntimeError("the process was started without a pipe")
    process.stdin.write(line + b"\n")
    await process.stdin.drain()
