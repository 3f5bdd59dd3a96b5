"""Runs that crash the process, and runs that nobody here can serve."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from orchestrator.engine import entries
from orchestrator.engine.control import Verb
from orchestrator.engine.slots import NodeSlots
from orchestrator.model.errors import RunConflict
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from orchestrator.workflow.retry import Retry
from tests.engine.durable.driving import control, reading, signal
from tests.engine.live import House, Options, serving
from tests.support.wait import until

CRASHED = Options(crashed=True)


@job("quick")
async def quick(ctx: Context) -> int:
    """Return at once."""
    return 1


@pytest.mark.requirement("R12.crashes")
async def test_a_task_under_way_at_three_crashes_takes_its_run_to_the_dead_letters(
    house: House,
) -> None:
    begun: list[int] = []

    @job("poison")
    async def poison(ctx: Context) -> None:
        begun.append(ctx.attempt)
        await anyio.sleep_forever()

    async with serving(house, poison, quick) as live:
        run = (await live.submit("poison")).id
        await until(lambda: begun)
    for crash in (2, 3):
        async with serving(house, poison, quick, options=CRASHED):
            await until(lambda: len(begun) == crash)  # noqa: B023 - asked in this round
    async with serving(house, poison, quick, options=CRASHED) as live:
        await live.quiet()
        stored = await house.row(run)
        assert stored.state == "dead"
        assert "CrashedTooOften" in (stored.error or "")
        assert await house.output(await live.run("quick")) == 1
        assert live.slots.free == live.slots.total
    assert begun == [1, 2, 3]


async def test_an_end_that_was_wanted_counts_as_no_crash(house: House) -> None:
    begun: list[int] = []

    @job("w")
    async def flow(ctx: Context) -> None:
        begun.append(ctx.attempt)
        await anyio.sleep_forever()

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        await until(lambda: begun)
    for round_ in range(2, 7):
        async with serving(house, flow):
            await until(lambda: len(begun) == round_)  # noqa: B023 - asked in this round
    assert (await house.row(run)).state == "running"


@pytest.mark.requirement("R12.culprit", "R12.tenant")
async def test_suspects_run_one_at_a_time_so_that_only_the_culprit_dies(house: House) -> None:
    now: set[str] = set()
    together: list[int] = []
    begun: list[str] = []
    held = [True]
    door = anyio.Event()

    @job("w")
    async def flow(ctx: Context, name: str) -> None:
        begun.append(name)
        now.add(name)
        together.append(len(now))
        try:
            if held[0]:
                await anyio.sleep_forever()
            if name == "culprit":
                await door.wait()
        finally:
            now.discard(name)

    names = ["a", "b", "culprit", "c"]
    async with serving(house, flow) as live:
        runs = {name: (await live.submit("w", name=name)).id for name in names}
        await until(lambda: len(now) == 4)
    async with serving(house, flow, options=CRASHED):
        await until(lambda: len(now) == 4)
    held[0] = False
    together.clear()
    async with serving(house, flow, options=CRASHED) as live:
        await until(lambda: "culprit" in now)
    assert set(together) == {1}
    async with serving(house, flow, options=CRASHED) as live:
        await live.quiet()
        states = {name: (await house.row(run)).state for name, run in runs.items()}
        assert states == {"a": "succeeded", "b": "succeeded", "culprit": "dead", "c": "succeeded"}
        assert live.slots.free == live.slots.total


async def test_a_dead_run_can_be_retried_with_a_clean_record(house: House) -> None:
    begun: list[int] = []
    held = [True]

    @job("w")
    async def flow(ctx: Context) -> int:
        begun.append(1)
        if held[0]:
            await anyio.sleep_forever()
        return 1

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        await until(lambda: begun)
    for crash in (2, 3):
        async with serving(house, flow, options=CRASHED):
            await until(lambda: len(begun) == crash)  # noqa: B023 - asked in this round
    held[0] = False
    async with serving(house, flow, options=CRASHED) as live:
        await live.quiet()
        assert (await house.row(run)).state == "dead"
        await control(live, run, Verb.RETRY)
        await live.quiet()
    assert await house.output(run) == 1


async def test_a_suspect_that_is_cancelled_gives_its_place_to_the_next(house: House) -> None:
    now: list[str] = []

    @job("w")
    async def flow(ctx: Context, name: str) -> None:
        now.append(name)
        await anyio.sleep_forever()

    slots = NodeSlots(8)
    async with serving(house, flow) as live:
        runs = {name: (await live.submit("w", name=name)).id for name in "ab"}
        await until(lambda: len(now) == 2)
    async with serving(house, flow, options=CRASHED):
        await until(lambda: len(now) == 4)
    async with serving(house, flow, options=Options(crashed=True, slots=slots)) as live:
        await until(lambda: len(now) == 5)
        await control(live, runs[now[4]], Verb.CANCEL)
        await until(lambda: len(now) == 6)
        assert sorted(now[4:]) == ["a", "b"]
        await control(live, runs[now[5]], Verb.CANCEL)
        await live.quiet()
        await until(lambda: slots.free == slots.total)
    assert slots.claim_solo(lambda: None), "the place is free"


async def test_suspects_that_do_no_harm_for_long_enough_are_none_any_more(house: House) -> None:
    now: list[str] = []

    @job("w")
    async def flow(ctx: Context, name: str) -> None:
        now.append(name)
        await anyio.sleep_forever()

    async with serving(house, flow) as live:
        for name in "abc":
            await live.submit("w", name=name)
        await until(lambda: len(now) == 3)
    async with serving(house, flow, options=CRASHED):
        await until(lambda: len(now) == 6)
    async with serving(house, flow, options=CRASHED) as live:
        for count in (7, 8, 9):
            await until(lambda: len(now) == count)  # noqa: B023 - asked in this round
            live.clock.advance(29)
            live.engine.tick()
            assert len(now) == count, "it runs alone"
            live.clock.advance(2)
            live.engine.tick()
    async with serving(house, flow, options=CRASHED):
        await until(lambda: len(now) == 12, what="all at once")
    assert await house.value("SELECT count(*) FROM tenant.wf_run WHERE state = 'dead'") == 0


async def test_only_crashes_in_a_row_count(house: House) -> None:
    begun: list[str] = []
    ways = ["hangs", "hangs", "fails", "hangs", "hangs", "ends"]

    @job("w", retry=Retry(attempts=3, initial="1s", jitter=0))
    async def flow(ctx: Context) -> None:
        begun.append(ways[len(begun)])
        if begun[-1] == "hangs":
            await anyio.sleep_forever()
        if begun[-1] == "fails":
            raise ValueError("no crash")

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        await until(lambda: begun)
    async with serving(house, flow, options=CRASHED):
        await until(lambda: len(begun) == 2)
    async with serving(house, flow, options=CRASHED) as live:
        await live.quiet()
        live.clock.advance(1.5)
        live.engine.tick()
        await until(lambda: len(begun) == 4)
    async with serving(house, flow, options=CRASHED):
        await until(lambda: len(begun) == 5)
    async with serving(house, flow, options=CRASHED) as live:
        await live.quiet()
    assert (await house.row(run)).state == "succeeded"


# -- not served ------------------------------------------------------------------------


@pytest.mark.requirement("R11.blocked", "R11.resumed")
async def test_a_run_that_nobody_serves_is_blocked_and_goes_on_when_somebody_does(
    house: House,
) -> None:
    calls: list[Any] = []
    flow = Workflow("w")
    door = anyio.Event()

    @flow.task()
    async def first(ctx: Context) -> None:
        await ctx.step("first", reading(calls), "first")

    @flow.task(after=[first])
    async def second(ctx: Context) -> int:
        await door.wait()
        return 2

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        await until(lambda: told(house, run, "task.started second"))
    async with serving(house, quick) as live:
        await live.quiet()
        stored = await house.row(run)
        assert stored.state == "blocked"
        assert "w version 1" in (stored.error or "")
        assert await house.output(await live.run("quick")) == 1
    door.set()
    async with serving(house, flow) as live:
        await live.quiet()
    assert await house.output(run) == 2
    assert (await house.row(run)).error is None
    assert calls == ["first"]


async def told(house: House, run: Any, what: str) -> bool:
    """Return whether the journal has that entry."""
    return what in await house.told(run)


@pytest.mark.requirement("R11.blocked")
async def test_another_version_blocks_too(house: House) -> None:
    @job("w", version="1")
    async def one(ctx: Context) -> Any:
        return await ctx.wait_signal("go")

    @job("w", version="2")
    async def two(ctx: Context) -> Any:
        return await ctx.wait_signal("go")

    async with serving(house, one) as live:
        run = await live.run("w")
    async with serving(house, two) as live:
        await live.quiet()
        assert (await house.row(run)).state == "waiting", "it rests; nothing is wrong yet"
        await signal(live, run, "go", 1)
        await live.quiet()
        assert (await house.row(run)).state == "blocked"
    async with serving(house, one, two) as live:
        await live.quiet()
    assert await house.output(run) == 1


@pytest.mark.requirement("R11.keeps")
async def test_a_run_whose_tasks_changed_under_its_version_is_blocked(house: House) -> None:
    before, after = Workflow("w"), Workflow("w")

    async def wait(ctx: Context) -> Any:
        return await ctx.wait_signal("go")

    before.task(name="a")(wait)
    after.task(name="b")(wait)
    async with serving(house, before) as live:
        run = await live.run("w")
    async with serving(house, after) as live:
        await signal(live, run, "go", 1)
        await live.quiet()
        stored = await house.row(run)
        assert stored.state == "blocked"
        assert "WorkflowChanged" in (stored.error or "")
    async with serving(house, before) as live:
        await live.quiet()
    assert await house.output(run) == 1


async def test_a_blocked_run_can_be_cancelled_where_its_workflow_is_served(house: House) -> None:
    names = ["a", "b"]

    @job("w")
    async def flow(ctx: Context) -> None:
        await ctx.step(names.pop(0), lambda: 1)
        await ctx.wait_signal("go")

    async with serving(house, flow) as live:
        run = await live.run("w")
        await signal(live, run, "go")
        await live.quiet()
        assert (await house.row(run)).state == "blocked"
        await control(live, run, Verb.CANCEL)
        await live.quiet()
        assert (await house.row(run)).state == "cancelled"


async def test_a_blocked_run_can_be_cancelled_where_nobody_serves_it(house: House) -> None:
    @job("w")
    async def flow(ctx: Context) -> None:
        await anyio.sleep_forever()

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        await until(lambda: live.slots.used)
    async with serving(house, quick) as live:
        await live.quiet()
        with pytest.raises(RunConflict):
            await control(live, run, Verb.RETRY)
        await control(live, run, Verb.CANCEL)
        await live.quiet()
        assert (await house.row(run)).state == "cancelled"
    async with serving(house, flow) as live:
        await live.quiet()
        assert (await house.row(run)).state == "cancelled"
    tags = [type(e) for e in await house.journal(run)]
    assert tags[-1] is entries.RunCancelled


async def test_a_resumed_run_that_diverged_is_tried_once_more(house: House) -> None:
    names = [["a"], ["x"], ["a"]]

    @job("w")
    async def flow(ctx: Context) -> Any:
        for name in names.pop(0):
            await ctx.step(name, lambda: 1)
        return await ctx.wait_signal("go")

    async with serving(house, flow) as live:
        run = await live.run("w")
        await signal(live, run, "go", 7)
        await live.quiet()
        assert (await house.row(run)).state == "blocked"
        await control(live, run, Verb.RESUME)
        await live.quiet()
    assert await house.output(run) == 7


async def test_a_divergence_loses_nothing_that_happened_beside_it(house: House) -> None:
    flow = Workflow("w")
    names = ["a", "b", "a"]
    calls: list[str] = []

    @flow.task()
    async def diverges(ctx: Context) -> None:
        await ctx.step(names.pop(0), lambda: 1)
        await ctx.wait_signal("go")

    @flow.task()
    async def other(ctx: Context) -> Any:
        found = await ctx.wait_signal("other")
        calls.append("other")
        return found

    async with serving(house, flow) as live:
        run = await live.run("w")
        live_signal = signal
        async with anyio.create_task_group() as group:
            group.start_soon(live_signal, live, run, "go")
            group.start_soon(live_signal, live, run, "other", 5)
        await live.quiet()
        assert (await house.row(run)).state == "blocked"
        await control(live, run, Verb.RESUME)
        await live.quiet()
    assert (await house.output(run))["other"] == 5
