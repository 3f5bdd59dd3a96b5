"""`ctx.map`: each item once, a bounded number at a time."""

from __future__ import annotations

import tracemalloc
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from orchestrator.engine import durable, entries
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from orchestrator.workflow.retry import Retry
from tests.engine.live import House, Options, serving
from tests.support.wait import until

AT_ONCE = Retry(attempts=3, initial="1ms", jitter=0.0)
ITEMS = 10_000


@pytest.mark.requirement("R6.map")
async def test_ten_thousand_items_are_each_called_once_and_a_bounded_number_at_a_time(
    house: House,
) -> None:
    calls: list[int] = []
    now = most = 0

    @job("w")
    async def flow(ctx: Context) -> int:
        async def double(item: int) -> int:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await anyio.lowlevel.checkpoint()
            now -= 1
            calls.append(item)
            return 2 * item

        return sum(await ctx.map(double, range(ITEMS), concurrency=50))

    async with serving(house, flow) as live:
        run = await live.run("w")
    assert await house.output(run) == ITEMS * (ITEMS - 1)
    assert sorted(calls) == list(range(ITEMS))
    assert most == 50


@pytest.mark.requirement("R6.map")
async def test_items_that_finished_before_a_crash_are_not_called_again(house: House) -> None:
    calls: list[int] = []
    stop_at = [600]

    @job("w")
    async def flow(ctx: Context) -> int:
        async def work(item: int) -> int:
            if len(calls) >= stop_at[0]:
                await anyio.sleep_forever()
            calls.append(item)
            return 1

        return sum(await ctx.map(work, range(1000), concurrency=20))

    done = "SELECT sum(json_array_length(entries)) >= 600 FROM tenant.wf_event"
    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        await until(lambda: house.value(done))
    stop_at[0] = ITEMS
    async with serving(house, flow, options=Options(crashed=True)) as live:
        await live.quiet()
    assert await house.output(run) == 1000
    assert sorted(calls) == list(range(1000))


async def test_an_item_that_raises_fails_the_attempt_and_the_others_stay_done(
    house: House,
) -> None:
    calls: list[int] = []

    @job("w", retry=AT_ONCE)
    async def flow(ctx: Context) -> list[Any]:
        def work(item: int) -> int:
            calls.append(item)
            if item == 3 and calls.count(3) == 1:
                raise KeyError("three")
            return item

        return await ctx.map(work, range(6), concurrency=1)

    async with serving(house, flow) as live:
        run = await live.run("w")
        retrying = [e for e in await house.journal(run) if isinstance(e, entries.TaskRetrying)]
        assert [e.error.type for e in retrying] == ["KeyError"]
        await live.later(1)
    assert await house.output(run) == list(range(6))
    assert calls == [0, 1, 2, 3, 3, 4, 5]


async def test_an_item_whose_result_has_no_json_form_fails_the_attempt(house: House) -> None:
    @job("w")
    async def flow(ctx: Context) -> None:
        await ctx.map(lambda _: float("nan"), [1])

    async with serving(house, flow) as live:
        run = await live.run("w")
    assert (await house.error(run))["type"] == "ValueError"


async def test_a_map_over_nothing_returns_nothing(house: House) -> None:
    @job("w")
    async def flow(ctx: Context) -> list[Any]:
        empty = await ctx.map(str, [])
        return [empty, await ctx.step("after", lambda: 1)]

    async with serving(house, flow) as live:
        run = await live.run("w")
    assert await house.output(run) == [[], 1]


async def test_two_maps_side_by_side_keep_their_results_apart(house: House) -> None:
    failing = [True]

    @job("w", retry=AT_ONCE)
    async def flow(ctx: Context) -> list[Any]:
        found: dict[int, list[Any]] = {}

        async def run(factor: int) -> None:
            async def times(item: int) -> int:
                await anyio.lowlevel.checkpoint()
                return item * factor

            found[factor] = await ctx.map(times, range(20), concurrency=3)

        async with anyio.create_task_group() as group:
            group.start_soon(run, 1)
            group.start_soon(run, 100)
        if failing[0]:
            failing[0] = False
            raise ValueError("again")
        return [found[1], found[100]]

    async with serving(house, flow) as live:
        run = await live.run("w")
        await live.later(1)
    assert await house.output(run) == [list(range(20)), [100 * n for n in range(20)]]


@pytest.mark.parametrize("inner", ["step", "map"])
async def test_a_durable_call_inside_another_is_refused(house: House, inner: str) -> None:
    @job("w")
    async def flow(ctx: Context) -> Any:
        async def nested(*_: Any) -> Any:
            return await ctx.step("inner", lambda: 1)

        if inner == "step":
            return await ctx.step("outer", nested)
        return await ctx.map(nested, [1, 2])

    async with serving(house, flow) as live:
        run = await live.run("w")
    assert (await house.error(run))["type"] == "NestedCall"


async def test_what_a_map_holds_for_the_journal_is_bounded(house: House) -> None:
    text = "x" * 2_000

    @job("w")
    async def flow(ctx: Context) -> int:
        async def work(_: int) -> str:
            return text

        return len(await ctx.map(work, range(ITEMS), concurrency=200))

    async with serving(house, flow) as live:
        tracemalloc.start()
        run = await live.run("w")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert await house.output(run) == ITEMS
    results = ITEMS * len(text)
    unstored = durable.UNSTORED_ITEMS * len(text)
    # The results twice: in the run's memory and for the caller; and what is being written.
    assert peak < 2 * results + 8 * unstored + 20_000_000
