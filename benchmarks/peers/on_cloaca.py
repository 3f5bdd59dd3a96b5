"""Cloaca (Cloacina for Python): 16 tasks at a time, 32 callers that each wait for their workflow.

Its `execute` submits and waits, so there is no figure for either alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import cloaca

from benchmarks.peers.work import PAUSE, STEPS, WARM_UP, Tally
from benchmarks.protocol import Figures, Order, WrongResult, percentiles, rate, serve

TASKS = 16
CONNECTIONS = 24
CALLERS = 32
POLL_MS = 10
"""Of the scheduler; 100 unless it is told."""

TALLY = Tally()

with cloaca.WorkflowBuilder("one_step") as builder:
    builder.description("one task")

    @cloaca.task(id="only")
    def only(context: Any) -> Any:
        """Do nothing."""
        TALLY.start()
        return context


with cloaca.WorkflowBuilder("five_steps") as builder:
    builder.description("five tasks, one after the other")
    for number in range(STEPS):
        before = [f"step_{number - 1}"] if number else []

        @cloaca.task(id=f"step_{number}", dependencies=before)
        def step(context: Any) -> Any:
            """Do nothing."""
            return context


class Runner:
    """A runner and the threads that call it."""

    def __init__(self, runner: Any, pool: ThreadPoolExecutor) -> None:
        self._runner = runner
        self._pool = pool

    async def run(self, workflow: str, count: int) -> None:
        """Run a workflow so many times; return when all have ended."""
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(self._pool, self._execute, workflow) for _ in range(count)]
        await asyncio.gather(*calls)

    def _execute(self, workflow: str) -> None:
        result = self._runner.execute(workflow, cloaca.Context({}))
        if result.status != "Completed":
            raise WrongResult(f"{workflow} is {result.status}: {result.error_message}")


@asynccontextmanager
async def opened(order: Order) -> AsyncIterator[Runner]:
    """Start a runner."""
    config = cloaca.DefaultRunnerConfig(
        max_concurrent_tasks=TASKS, db_pool_size=CONNECTIONS, scheduler_poll_interval_ms=POLL_MS
    )
    runner = await asyncio.to_thread(cloaca.DefaultRunner.with_config, order.url, config)
    try:
        with ThreadPoolExecutor(CALLERS) as pool:
            yield Runner(runner, pool)
    finally:
        await asyncio.to_thread(runner.shutdown)


async def one_step(order: Order) -> Figures:
    """Do A: both together."""
    async with opened(order) as runner:
        await runner.run("one_step", WARM_UP)
        began = time.perf_counter()
        await runner.run("one_step", order.count)
        both = rate(order.count, began)
    return {"runs_per_s": both, "measured_runs": float(order.count)}


async def chains(order: Order) -> Figures:
    """Do B."""
    async with opened(order) as runner:
        await runner.run("five_steps", WARM_UP)
        began = time.perf_counter()
        await runner.run("five_steps", order.count)
        steps = rate(order.count * STEPS, began)
    return {"steps_per_s": steps, "measured_steps": float(order.count * STEPS)}


async def latency(order: Order) -> Figures:
    """Do C."""
    taken = []
    async with opened(order) as runner:
        await runner.run("one_step", WARM_UP)
        for _ in range(order.count):
            began = time.monotonic()
            await runner.run("one_step", 1)
            taken.append(TALLY.started[-1] - began)
            await asyncio.sleep(PAUSE)
    return {**percentiles(taken), "measured_runs": float(order.count)}


async def set_up(order: Order) -> None:
    """Let it make its tables: it does when it is started."""
    async with opened(order):
        pass


if __name__ == "__main__":
    serve({"A": one_step, "B": chains, "C": latency}, set_up)
