"""`ctx.sleep`: short ones on the spot, long ones without a slot and out of memory."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest

from orchestrator.engine import entries
from orchestrator.engine.residence import RESIDENT_RUNS, NodeMemory
from orchestrator.engine.slots import NodeSlots
from orchestrator.model.api import StartRun
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from tests.engine.durable.driving import reading, resident, signal
from tests.engine.live import House, Options, serving
from tests.support.wait import until

HOUR = 3600.0


def sleeper(*spans: str | float) -> Workflow:
    """Return a workflow that sleeps, as often as it is told, and returns 1."""

    @job("w")
    async def flow(ctx: Context) -> int:
        for span in spans:
            await ctx.sleep(span)
        return 1

    return flow


async def test_a_short_sleep_keeps_its_slot(house: House) -> None:
    async with serving(house, sleeper(0.05)) as live:
        run = await live.run("w")
    assert await house.output(run) == 1
    assert "task.parked flow" not in await house.told(run)


@pytest.mark.requirement("R6.sleep", "R6.rest")
async def test_a_long_sleep_gives_slot_and_memory_back_and_comes_back(house: House) -> None:
    calls: list[Any] = []

    @job("w")
    async def flow(ctx: Context) -> str:
        await ctx.step("before", reading(calls), "before")
        await ctx.sleep("1h")
        await ctx.step("after", reading(calls), "after")
        return "rested"

    async with serving(house, flow) as live:
        run = await live.run("w")
        assert (await house.row(run)).state == "waiting"
        assert live.slots.free == live.slots.total
        assert run not in resident(live)
        await live.later(HOUR - 1)
        assert calls == ["before"]
        await live.later(2)
        assert await house.output(run) == "rested"
        assert live.slots.free == live.slots.total
    assert calls == ["before", "after"]


async def test_a_sleep_of_seconds_gives_its_slot_back_and_stays_in_memory(house: House) -> None:
    async with serving(house, sleeper(3)) as live:
        run = await live.run("w")
        assert live.slots.free == live.slots.total
        assert run in resident(live)
        await live.later(3)
    assert await house.output(run) == 1


@pytest.mark.requirement("R6.sleep")
async def test_a_sleep_ends_on_time_though_the_process_crashed_meanwhile(house: House) -> None:
    async with serving(house, sleeper("1h")) as live:
        run = await live.run("w")
    await house.skip(HOUR / 2)
    async with serving(house, sleeper("1h"), options=Options(crashed=True)) as live:
        await live.quiet()
        assert live.recovered == 0, "a run that rests is nobody's loss"
        due = live.engine.next_due
        assert due is not None
        assert abs((due - live.engine.now).total_seconds() - HOUR / 2) < 60
    await house.skip(HOUR / 2)
    async with serving(house, sleeper("1h")) as live:
        await live.quiet()
    assert await house.output(run) == 1
    sleeps = [e for e in await house.journal(run) if isinstance(e, entries.SleepSet)]
    assert len(sleeps) == 1


async def test_a_sleep_that_ended_while_nobody_was_there_is_over(house: House) -> None:
    async with serving(house, sleeper(4)) as live:
        run = await live.run("w")
    await house.skip(10)
    async with serving(house, sleeper(4)) as live:
        await live.quiet()
    assert await house.output(run) == 1


async def test_sleeps_one_after_the_other(house: House) -> None:
    async with serving(house, sleeper("1h", "1h", "1h")) as live:
        run = await live.run("w")
        for _ in range(3):
            assert (await house.row(run)).state == "waiting"
            await live.later(HOUR + 1)
    assert await house.output(run) == 1


@pytest.mark.requirement("R6.rest")
async def test_many_runs_that_rest_make_room_for_the_others(house: House) -> None:
    async with serving(house, sleeper("1h")) as live:
        await live.submit_all([StartRun(workflow="w")] * 2500)
        await live.quiet()
        waiting = await house.value("SELECT count(*) FROM tenant.wf_run WHERE state = 'waiting'")
        assert waiting == 2500
        assert not resident(live)


@pytest.mark.slow
async def test_more_runs_due_at_once_than_fit_into_memory_all_go_on(house: House) -> None:
    async with serving(house, sleeper("1h")) as live:
        await live.submit_all([StartRun(workflow="w")] * 2500)
        await live.quiet()
        await live.later(HOUR + 1)
        done = await house.value("SELECT count(*) FROM tenant.wf_run WHERE state = 'succeeded'")
        assert done == 2500


async def test_a_run_that_is_back_is_not_moved_by_its_old_timers(house: House) -> None:
    begun: list[int] = []

    @job("w")
    async def flow(ctx: Context) -> None:
        begun.append(1)
        async with anyio.create_task_group() as group:
            group.start_soon(ctx.wait_signal, "a")
            group.start_soon(ctx.wait_signal, "b")
            group.start_soon(ctx.sleep, "1h")

    async with serving(house, flow) as live:
        run = await live.run("w")
        await live.later(HOUR - 3)
        await signal(live, run, "a")
        await live.quiet()
        assert run in resident(live), "its timer is too near to leave"
        await live.later(5)
        assert len(begun) == 3
        await signal(live, run, "b")
        await live.quiet()
    assert await house.output(run) is None
    assert len(begun) == 4


@pytest.mark.slow
async def test_the_timers_of_runs_that_rest_outside_hold_no_memory(house: House) -> None:
    options = Options(slots=NodeSlots(64, NodeMemory(spare=0)))
    async with serving(house, sleeper("1h"), options=options) as live:
        await live.submit_all([StartRun(workflow="w", deadline="2h")] * 5000)
        await live.quiet()
        board = live.engine._board  # noqa: SLF001 - what it holds is the question
        assert len(board._timers) < 4.5 * RESIDENT_RUNS  # noqa: SLF001
        assert len(board._queued) + len(board._ready) == 0  # noqa: SLF001


@pytest.mark.requirement("R5.clock")
async def test_time_follows_the_databases_at_each_flush_and_timers_with_it(house: House) -> None:
    door = anyio.Event()

    @job("w")
    async def flow(ctx: Context) -> None:
        await ctx.sleep("4s")

    @job("held")
    async def held(ctx: Context) -> None:
        await door.wait()

    async with serving(house, flow, held) as live:
        run = (await live.submit("w")).id
        await until(lambda: live.engine.next_due)
        await house.skip(3600)
        await live.submit("held")
        door.set()
        await live.quiet()
        await until(lambda: not resident(live), what="the sleep is over without a tick by hand")
        ahead = live.engine.now
        live.clock.advance(60)
        await live.run("held")
        assert ahead < live.engine.now < ahead + timedelta(seconds=50), "it has come back"
    assert (await house.row(run)).state == "succeeded"
