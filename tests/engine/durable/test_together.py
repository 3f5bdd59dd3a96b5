"""Durable calls side by side in a task group, and what becomes of an attempt that waits."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel

from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from orchestrator.workflow.retry import Retry
from tests.engine.durable.driving import reading, signal
from tests.engine.live import House, serving

HOUR = 3600.0
AT_ONCE = Retry(attempts=3, initial="1ms", jitter=0.0)


@job("patient")
async def patient(ctx: Context) -> Any:
    """Wait for somebody."""
    return await ctx.wait_signal("go")


async def test_a_task_waits_for_time_signal_and_child_together(house: House) -> None:
    calls: list[Any] = []

    @job("w")
    async def flow(ctx: Context) -> dict[str, Any]:
        found: dict[str, Any] = {}
        kid = await ctx.start_child("patient")

        async def rest() -> None:
            await ctx.sleep("1h")
            found["slept"] = await ctx.step("slept", reading(calls), "slept")

        async def listen() -> None:
            found["signal"] = await ctx.wait_signal("x")
            await ctx.step("heard", reading(calls), "heard")

        async def follow() -> None:
            found["child"] = await ctx.wait(kid)

        async with anyio.create_task_group() as group:
            for each in (rest, listen, follow):
                group.start_soon(each)
        return found

    async with serving(house, flow, patient) as live:
        run = await live.run("w")
        kid = await house.value("SELECT id FROM tenant.wf_run WHERE parent_id = $1", run)
        assert live.slots.free == live.slots.total
        await signal(live, run, "x", 1)
        await live.quiet()
        assert calls == ["heard"]
        await signal(live, kid, "go", 2)
        await live.quiet()
        assert (await house.row(run)).state == "waiting"
        await live.later(HOUR + 1)
    assert await house.output(run) == {"slept": 2, "signal": 1, "child": 2}
    assert calls == ["heard", "slept"]


async def test_a_wait_does_not_cut_off_a_step_beside_it(house: House) -> None:
    begun: list[str] = []

    @job("w")
    async def flow(ctx: Context) -> None:
        async def slow() -> None:
            begun.append("slow")
            for _ in range(20):
                await anyio.lowlevel.checkpoint()

        async def chain() -> None:
            await ctx.step("slow", slow)
            await ctx.step("next", reading(begun), "next")

        async with anyio.create_task_group() as group:
            group.start_soon(ctx.wait_signal, "go")
            group.start_soon(chain)

    async with serving(house, flow) as live:
        run = await live.run("w")
        assert begun == ["slow", "next"]
        await signal(live, run, "go")
        await live.quiet()
    assert await house.output(run) is None
    assert begun == ["slow", "next"]


async def test_a_failure_beside_a_wait_is_a_failure_and_is_retried(house: House) -> None:
    failing = [True]

    @job("w", retry=AT_ONCE)
    async def flow(ctx: Context) -> Any:
        async def fail() -> None:
            await anyio.lowlevel.checkpoint()
            if failing[0]:
                failing[0] = False
                raise ValueError("no")

        async with anyio.create_task_group() as group:
            group.start_soon(ctx.sleep, "1h")
            group.start_soon(fail)
        return "slept"

    async with serving(house, flow) as live:
        run = await live.run("w")
        await live.later(1)
        assert (await house.row(run)).state == "waiting"
        await live.later(HOUR + 1)
    assert await house.output(run) == "slept"


async def test_a_wait_that_user_code_swallows_is_a_wait_all_the_same(house: House) -> None:
    @job("w")
    async def flow(ctx: Context) -> Any:
        found = await asyncio.gather(
            ctx.wait_signal("a"), ctx.wait_signal("b"), return_exceptions=True
        )
        return [str(each) for each in found]

    async with serving(house, flow) as live:
        run = await live.run("w")
        await signal(live, run, "b", "two")
        await live.quiet()
        await signal(live, run, "a", "one")
        await live.quiet()
    assert await house.output(run) == ["one", "two"]


async def test_a_wait_under_a_deadline_of_user_code_can_be_given_up(house: House) -> None:
    door = anyio.Event()

    @job("w")
    async def flow(ctx: Context) -> str:
        async def slow() -> str:
            await door.wait()
            return "stepped"

        found = []

        async def step() -> None:
            found.append(await ctx.step("slow", slow))

        async with anyio.create_task_group() as group:
            group.start_soon(step)
            with anyio.move_on_after(0.05):
                await ctx.wait_signal("never")
            door.set()
        return str(found[0])

    async with serving(house, flow) as live:
        run = await live.run("w")
    assert await house.output(run) == "stepped"


async def test_durable_calls_from_a_sync_task_go_through_its_thread(house: House) -> None:
    calls: list[Any] = []

    @job("w", retry=AT_ONCE)
    def flow(ctx: Context) -> Any:
        first = anyio.from_thread.run(ctx.step, "first", reading(calls), "first")
        second = anyio.from_thread.run(ctx.step, "second", reading(calls), "second")
        if len(calls) == 2:
            calls.append("failed")
            raise ValueError("again")
        anyio.from_thread.run(ctx.sleep, "1h")
        return [first, second]

    async with serving(house, flow) as live:
        run = await live.run("w")
        await live.later(1)
        stored = await house.row(run)
        assert stored.state == "waiting", stored.error
        await live.later(HOUR + 1)
    assert await house.output(run) == [1, 2]
    assert calls == ["first", "second", "failed"]


async def test_a_wait_that_lost_a_race_is_given_up_now_and_in_every_later_attempt(
    house: House,
) -> None:
    failing = [True]

    @job("w", retry=AT_ONCE)
    async def flow(ctx: Context) -> Any:
        async with anyio.create_task_group() as group:
            group.start_soon(ctx.sleep, "1h")
            found = await ctx.wait_signal("go")
            group.cancel_scope.cancel()
        if failing[0]:
            failing[0] = False
            raise ValueError("again")
        return found

    async with serving(house, flow) as live:
        run = await live.run("w")
        await signal(live, run, "go", "told")
        await live.quiet()
        await live.later(1)
    assert await house.output(run) == "told"
