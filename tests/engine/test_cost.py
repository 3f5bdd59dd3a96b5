"""What a step and a run cost, by counts that hold on any machine."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest

from orchestrator.engine.slots import NodeSlots
from orchestrator.model.api import StartRun
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from tests.engine.durable.driving import resident
from tests.engine.live import House, Options, serving
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

STEPS = 5
WEIGHED = 200
COUNTED = 200
CALLS = 122
"""Of functions written in Python, for a step of a chain of five."""

RESIDENT_BYTES = 10_000
WAITING_BYTES = 1_000
"""100,000 runs that wait hold less than 100 MB."""


async def at_once(ctx: Context) -> int:
    """Return at once."""
    return 1


def chain(step: Callable[[Context], Awaitable[int]] = at_once) -> Workflow:
    """Return a workflow that makes the same step five times, one after the other."""
    flow = Workflow("chain")
    for number in range(STEPS):
        flow.task(name=f"t{number}", after=[f"t{number - 1}"] if number else [])(step)
    return flow


async def test_a_step_of_an_idle_tenant_costs_one_round_trip(house: House) -> None:
    proxy = CuttingProxy(house.database.as_engine("acme"))
    async with (
        proxy.running(),
        serving(house, chain(), options=Options(target=proxy.target)) as live,
    ):
        await live.run("chain")
        before = proxy.statements
        await live.run("chain")
        assert proxy.statements - before == 1 + STEPS  # the submit, and a commit for each step


async def test_a_thousand_runs_in_flight_cost_two_commits_in_a_hundred_steps(house: House) -> None:
    proxy = CuttingProxy(house.database.as_engine("acme"))
    async with (
        proxy.running(),
        serving(house, chain(), options=Options(target=proxy.target)) as live,
    ):
        before = proxy.statements
        await live.submit_all([StartRun(workflow="chain")] * 1000)
        await live.quiet()
        statements = proxy.statements - before
    assert await house.value("SELECT count(*) FROM tenant.wf_run WHERE state = 'succeeded'") == 1000
    assert statements <= 0.02 * 1000 * STEPS


async def test_a_step_takes_few_calls_of_functions(house: House) -> None:
    # What the loop costs is calls of functions in Python, and how many is the same anywhere.
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    async with serving(house, chain(), options=Options(slots=NodeSlots(COUNTED))) as live:
        await live.run("chain")
        sys.setprofile(count)
        try:
            await live.submit_all([StartRun(workflow="chain")] * COUNTED)
            await live.quiet()
        finally:
            sys.setprofile(None)
    assert calls <= CALLS * COUNTED * STEPS


@pytest.fixture
def held() -> Iterator[Callable[[], int]]:
    """Yield what tells how many bytes Python's objects hold now."""

    def bytes_held() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    yield bytes_held
    tracemalloc.stop()


async def test_a_run_in_memory_costs_less_than_10_kb(house: House, held: Callable[[], int]) -> None:
    door, begun = anyio.Event(), [0]

    async def step(ctx: Context) -> int:
        begun[0] += 1
        await door.wait()
        return 1

    async with serving(house, chain(step), options=Options(slots=NodeSlots(2 * WEIGHED))) as live:
        await live.submit_all([StartRun(workflow="chain")] * WEIGHED)
        await until(lambda: begun[0] == WEIGHED)
        before = held()
        await live.submit_all([StartRun(workflow="chain")] * WEIGHED)
        await until(lambda: begun[0] == 2 * WEIGHED)
        each = (held() - before) / WEIGHED
        door.set()
        await live.quiet()
    assert each < RESIDENT_BYTES


async def test_a_run_that_waits_costs_next_to_nothing(
    house: House, held: Callable[[], int]
) -> None:
    @job("w")
    async def flow(ctx: Context) -> Any:
        return await ctx.wait_signal("go", timeout="30d")

    async with serving(house, flow, options=Options(slots=NodeSlots(WEIGHED))) as live:
        await live.submit_all([StartRun(workflow="w")] * WEIGHED)
        await live.quiet()
        before = held()
        await live.submit_all([StartRun(workflow="w")] * WEIGHED)
        await live.quiet()
        assert not resident(live)
        assert (held() - before) / WEIGHED < WAITING_BYTES
