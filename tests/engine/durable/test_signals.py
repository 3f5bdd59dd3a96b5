"""`ctx.wait_signal`: every message is taken once, in order, wherever the run is."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import UUID

import anyio
import pytest

from orchestrator.engine import entries
from orchestrator.engine.control import Verb
from orchestrator.model.api import StartRun
from orchestrator.model.errors import RunConflict
from orchestrator.model.ids import new_run_id
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Job, job
from tests.engine.durable.driving import (
    control,
    crash_at,
    pause,
    resident,
    signal,
)
from tests.engine.live import House, Live, Options, serving
from tests.support.proxy import When
from tests.support.wait import until

HOUR = 3600.0
SEND_STATEMENTS = 5


def waiting(count: int = 1) -> Job:
    """Return a workflow that returns the payloads of its first signals."""

    @job("w")
    async def flow(ctx: Context) -> list[Any]:
        return [await ctx.wait_signal("go") for _ in range(count)]

    return flow


async def taken(house: House, run: UUID) -> list[Any]:
    """Return the signals that the journal says were taken."""
    return [e.signal for e in await house.journal(run) if isinstance(e, entries.SignalTaken)]


async def test_a_signal_wakes_a_run_that_waits(house: House) -> None:
    async with serving(house, waiting()) as live:
        run = await live.run("w")
        assert (await house.row(run)).state == "waiting"
        assert run not in resident(live)
        assert live.slots.free == live.slots.total
        await signal(live, run, "go", {"x": 1})
        await live.quiet()
    assert await house.output(run) == [{"x": 1}]
    assert await house.value("SELECT count(*) FROM tenant.wf_signal") == 0


async def test_a_signal_that_came_before_the_call_is_kept(house: House) -> None:
    door = anyio.Event()

    @job("w")
    async def flow(ctx: Context) -> Any:
        await door.wait()
        return await ctx.wait_signal("go")

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        await signal(live, run, "go", 7)
        door.set()
        await live.quiet()
    assert await house.output(run) == 7


async def test_a_signal_for_a_run_that_has_not_begun_is_kept(house: House) -> None:
    async with serving(house, waiting()) as live:
        (started,) = await live.submit_all([StartRun(workflow="w", delay="1h")])
        await signal(live, started.id, "go", 7)
        await live.later(HOUR + 1)
    assert await house.output(started.id) == [7]


async def test_signals_are_taken_in_the_order_they_came(house: House) -> None:
    async with serving(house, waiting(4)) as live:
        run = await live.run("w")
        for number in range(2):
            await signal(live, run, "go", number)
            await live.quiet()
        async with anyio.create_task_group() as group:
            group.start_soon(signal, live, run, "go", 2)
            group.start_soon(signal, live, run, "go", 3)
        await live.quiet()
    assert await house.output(run) == [0, 1, 2, 3]


async def test_a_signal_of_another_name_is_left_for_its_call(house: House) -> None:
    @job("w")
    async def flow(ctx: Context) -> list[Any]:
        return [await ctx.wait_signal("first"), await ctx.wait_signal("second")]

    async with serving(house, flow) as live:
        run = await live.run("w")
        await signal(live, run, "second", 2)
        await live.quiet()
        assert (await house.row(run)).state == "waiting"
        await signal(live, run, "first", 1)
        await live.quiet()
    assert await house.output(run) == [1, 2]


async def test_a_signal_sent_while_nobody_was_there_is_found(house: House) -> None:
    flow = waiting()
    async with serving(house, flow) as live:
        run = await live.run("w")
    async with serving(house, flow) as live:
        await signal(live, run, "go", 1)
    async with serving(house, flow) as live:
        await live.quiet()
    assert await house.output(run) == [1]


async def test_a_signal_finds_a_run_whose_owner_died_after_looking_at_it(house: House) -> None:
    flow = waiting()
    async with serving(house, flow) as live:
        run = await live.run("w")
    # It was taken into memory for a look, and the process died before it was let go again.
    await house.admin.execute("UPDATE tenant_acme.wf_run SET epoch = 1")
    async with serving(house, flow, options=Options(crashed=True)) as live:
        await signal(live, run, "go", 1)
        await live.quiet()
    assert await house.output(run) == [1]


async def test_a_signal_that_meets_its_run_going_to_rest_is_found_after_a_crash(
    house: House,
) -> None:
    door = anyio.Event()

    @job("w")
    async def flow(ctx: Context) -> Any:
        await door.wait()
        return await ctx.wait_signal("go")

    async def drive(live: Live) -> None:
        run = (await live.submit("w")).id
        door.set()  # the flush that carries the wait is gathered while the signal is on its way
        await signal(live, run, "go", 1)
        await live.quiet()

    for cut_at in itertools.count(1):
        door = anyio.Event()
        if not await crash_at(house, [flow], cut_at, "before", drive):
            break
        door.set()
        if await house.value("SELECT count(*) FROM tenant.wf_signal"):
            async with serving(house, flow, options=Options(crashed=True)) as live:
                await live.quiet()
            run = await house.value("SELECT id FROM tenant.wf_run")
            assert await house.output(run) == 1, cut_at
        await house.admin.execute("TRUNCATE tenant_acme.wf_run, tenant_acme.wf_signal")
    assert cut_at > SEND_STATEMENTS


async def test_a_run_that_has_its_signal_and_waits_for_a_slot_goes_on_after_a_crash(
    house: House,
) -> None:
    door, never = anyio.Event(), anyio.Event()

    @job("w")
    async def flow(ctx: Context) -> Any:
        await door.wait()
        return await ctx.wait_signal("go")

    @job("hog")
    async def hog(ctx: Context) -> None:
        await never.wait()

    async def held() -> bool:
        query = "SELECT state = 'waiting' AND epoch > 0 FROM tenant.wf_run WHERE id = $1"
        return bool(await house.value(query, run))

    async with serving(house, flow, hog, max_concurrent_tasks=1) as live:
        run = (await live.submit("w")).id
        await live.submit("hog")
        door.set()
        await signal(live, run, "go", 1)
        await until(held)
    never.set()
    async with serving(house, flow, hog, options=Options(crashed=True)) as live:
        await live.quiet()
    assert await house.output(run) == 1


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.requirement("R6.signal")
async def test_a_signal_is_taken_once_whenever_the_process_dies(house: House, when: When) -> None:
    flow = waiting(2)

    async def drive(live: Live) -> None:
        run = await live.run("w")
        await signal(live, run, "go", "a", key="a")
        await live.quiet()
        await signal(live, run, "go", "b", key="b")
        await live.quiet()

    for cut_at in range(3, 60):
        if not await crash_at(house, [flow], cut_at, when, drive):
            break
        async with serving(house, flow, options=Options(crashed=True)) as live:
            await live.quiet()
            run = await house.value("SELECT id FROM tenant.wf_run")
            for name in ("a", "b") if run else ():
                if not (await house.row(run)).finished_at:
                    await signal(live, run, "go", name, key=name)
                    await live.quiet()
        if run:
            assert await house.output(run) == ["a", "b"], cut_at
            assert len(set(await taken(house, run))) == 2
        await house.admin.execute("TRUNCATE tenant_acme.wf_run, tenant_acme.wf_event")
    else:
        raise AssertionError("it never got to the end")
    assert cut_at > 10


async def test_a_wait_gives_up_at_its_timeout(house: House) -> None:
    @job("w")
    async def flow(ctx: Context) -> str:
        try:
            await ctx.wait_signal("go", timeout="1h")
        except TimeoutError:
            await ctx.step("after", lambda: 1)
            return "gave up"
        return "came"

    async with serving(house, flow) as live:
        run = await live.run("w")
        await live.later(HOUR - 10)
        assert (await house.row(run)).state == "waiting"
        await live.later(11)
        assert await house.output(run) == "gave up"
        with pytest.raises(RunConflict, match="finished"):
            await signal(live, run, "go")


@pytest.mark.requirement("R6.signal")
async def test_a_wait_that_gave_up_stays_so_after_a_crash(house: House) -> None:
    held = [True]

    @job("w")
    async def flow(ctx: Context) -> list[Any]:
        try:
            first = await ctx.wait_signal("go", timeout="1h")
        except TimeoutError:
            first = "gave up"
        await ctx.step("held", lambda: 1)
        if held[0]:
            await anyio.sleep_forever()
        return [first, await ctx.wait_signal("go")]

    async with serving(house, flow) as live:
        run = await live.run("w")
        await let_pass_only(live, HOUR + 1)
        await until(lambda: has(house, run, "step.done flow"))
        await signal(live, run, "go", "late")
    held[0] = False
    async with serving(house, flow) as live:
        await live.quiet()
    assert await house.output(run) == ["gave up", "late"]


async def let_pass_only(live: Live, seconds: float) -> None:
    """Let time pass without waiting for quiet."""
    await live.house.skip(seconds)
    live.clock.advance(seconds)
    live.engine.tick()


async def has(house: House, run: UUID, told: str) -> bool:
    """Return whether the journal has that entry."""
    return told in await house.told(run)


async def test_a_signal_in_time_beats_the_timeout(house: House) -> None:
    @job("w")
    async def flow(ctx: Context) -> Any:
        return await ctx.wait_signal("go", timeout="1h")

    async with serving(house, flow) as live:
        run = await live.run("w")
        await signal(live, run, "go", 1)
        await live.quiet()
    assert await house.output(run) == 1


@pytest.mark.parametrize("outside", [True, False], ids=["resting", "in memory"])
async def test_a_key_leaves_one_signal_however_often_it_is_sent(
    house: House, outside: bool
) -> None:
    door = anyio.Event()

    @job("w")
    async def flow(ctx: Context) -> list[Any]:
        if not outside:
            await door.wait()
        found = [await ctx.wait_signal("go")]
        try:
            found.append(await ctx.wait_signal("go", timeout=0.05))
        except TimeoutError:
            found.append("no more")
        return found

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        if outside:
            await live.quiet()
        for _ in range(3):
            await signal(live, run, "go", 1, key="k")
        door.set()
        await live.quiet()
        await live.later(1)
    assert await house.output(run) == [1, "no more"]


async def test_a_key_is_remembered_after_its_signal_was_taken(house: House) -> None:
    flow = waiting(2)
    async with serving(house, flow) as live:
        run = await live.run("w")
        await signal(live, run, "go", 1, key="k")
        await live.quiet()
        await signal(live, run, "go", 1, key="k")
        await live.quiet()
        assert (await house.row(run)).state == "waiting"
        await signal(live, run, "go", 2, key="other")
        await live.quiet()
    assert await house.output(run) == [1, 2]


async def test_a_signal_to_an_unknown_run_is_refused(house: House) -> None:
    async with serving(house, waiting()) as live:
        with pytest.raises(RunConflict, match="never there"):
            await signal(live, new_run_id(), "go")
    assert await house.value("SELECT count(*) FROM tenant.wf_signal") == 0


async def test_signals_to_two_runs_do_not_meet(house: House) -> None:
    async with serving(house, waiting()) as live:
        one, other = await live.run("w"), await live.run("w")
        await signal(live, one, "go", 1)
        await signal(live, other, "go", 2)
        await live.quiet()
    assert [await house.output(one), await house.output(other)] == [[1], [2]]


async def test_a_signal_to_a_paused_run_is_kept(house: House) -> None:
    async with serving(house, waiting()) as live:
        run = await live.run("w")
        await control(live, run, Verb.PAUSE)
        await signal(live, run, "go", 1)
        await live.quiet()
        assert (await house.row(run)).state == "paused"
        await control(live, run, Verb.RESUME)
        await live.quiet()
    assert await house.output(run) == [1]


async def test_a_signal_to_a_run_of_a_paused_workflow_is_kept(house: House) -> None:
    async with serving(house, waiting()) as live:
        run = await live.run("w")
        await pause(live, "w")
        await signal(live, run, "go", 1)
        await live.quiet()
        assert (await house.row(run)).state == "waiting"
        await pause(live, "w", paused=False)
        await live.quiet()
    assert await house.output(run) == [1]


async def test_two_calls_side_by_side_get_a_signal_each(house: House) -> None:
    @job("w")
    async def flow(ctx: Context) -> list[Any]:
        found: list[Any] = []

        async def wait() -> None:
            found.append(await ctx.wait_signal("go"))

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            group.start_soon(wait)
        return sorted(found)

    async with serving(house, flow) as live:
        run = await live.run("w")
        await signal(live, run, "go", 1)
        await live.quiet()
        assert (await house.row(run)).state == "waiting"
        await signal(live, run, "go", 2)
        await live.quiet()
    assert await house.output(run) == [1, 2]


async def test_a_run_cancelled_while_it_waits_takes_no_signal(house: House) -> None:
    async with serving(house, waiting()) as live:
        run = await live.run("w")
        await control(live, run, Verb.CANCEL)
        with pytest.raises(RunConflict):
            await signal(live, run, "go")
        await live.quiet()
    assert (await house.row(run)).state == "cancelled"
