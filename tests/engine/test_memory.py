"""What a run costs in memory: bounded while it is here, nothing while it waits elsewhere."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from orchestrator.engine.slots import NodeSlots
from orchestrator.model.api import StartRun
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from tests.engine.durable.driving import resident
from tests.engine.live import House, Options, serving
from tests.support.wait import until

RUNS = 200
RESIDENT_BYTES = 10_000
WAITING_BYTES = 1_000
"""100,000 runs that wait hold less than 100 MB: what is left of each is far less than that."""


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    """Count what is allocated."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def held() -> int:
    """Return the bytes that Python's objects hold now."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def test_a_run_in_memory_costs_less_than_10_kb(house: House) -> None:
    door, begun, flow = anyio.Event(), [0], Workflow("w")

    async def step(ctx: Context) -> int:
        begun[0] += 1
        await door.wait()
        return 1

    for number in range(5):
        flow.task(name=f"t{number}", after=[f"t{number - 1}"] if number else [])(step)
    async with serving(house, flow, options=Options(slots=NodeSlots(2 * RUNS))) as live:
        await live.submit_all([StartRun(workflow="w")] * RUNS)
        await until(lambda: begun[0] == RUNS)
        before = held()
        await live.submit_all([StartRun(workflow="w")] * RUNS)
        await until(lambda: begun[0] == 2 * RUNS)
        each = (held() - before) / RUNS
        door.set()
        await live.quiet()
    assert each < RESIDENT_BYTES


async def test_a_run_that_waits_costs_next_to_nothing(house: House) -> None:
    @job("w")
    async def flow(ctx: Context) -> Any:
        return await ctx.wait_signal("go", timeout="30d")

    async with serving(house, flow, options=Options(slots=NodeSlots(RUNS))) as live:
        await live.submit_all([StartRun(workflow="w")] * RUNS)
        await live.quiet()
        before = held()
        await live.submit_all([StartRun(workflow="w")] * RUNS)
        await live.quiet()
        assert not resident(live)
        each = (held() - before) / RUNS
    assert each < WAITING_BYTES
