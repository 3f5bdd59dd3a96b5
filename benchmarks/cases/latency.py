"""From the submit to the first line of the task (C), and a fan-out (H), each alone on the node."""

from __future__ import annotations

import time
from uuid import UUID

import anyio

from benchmarks.cases.node import ONE, Ledger, node
from benchmarks.node import run_in_lots, settled
from benchmarks.protocol import Figures, Order, percentiles
from orchestrator.model.api import StartRun

PAUSE = 0.002
"""Seconds between the end of a run and the next submit: the node is idle by then."""


async def submit_to_start(order: Order) -> Figures:
    """Submit one run after the other; its task says when it was started (C)."""
    submitted: dict[UUID, float] = {}
    async with node(order) as parts, Ledger.open(order, [ONE]) as ledger:
        await run_in_lots(parts, ONE, [StartRun(workflow="one_step")] * 20, 1)
        for _ in range(order.count):
            began = time.monotonic()
            (run,) = await parts.root.submit(ONE, [StartRun(workflow="moment")])
            submitted[run.id] = began
            await settled(parts, ONE)
            await anyio.sleep(PAUSE)
        started = await ledger.outputs(ONE, "moment")
        await ledger.expect(order.count + 20)
    taken = [float(started[str(run)]) - began for run, began in submitted.items()]
    return {**percentiles(taken), "measured_runs": float(order.count)}


async def fan_out(order: Order) -> Figures:
    """Run one run that maps a durable step over `count` items (H)."""
    run = StartRun(workflow="fan_out", input={"items": order.count})
    async with node(order) as parts, Ledger.open(order, [ONE]) as ledger:
        warm = StartRun(workflow="fan_out", input={"items": 100})
        await run_in_lots(parts, ONE, [warm], 1)
        began = time.perf_counter()
        await run_in_lots(parts, ONE, [run], 1)
        seconds = time.perf_counter() - began
        await ledger.expect(2)
    return {"seconds": seconds, "items_per_s": order.count / seconds}
