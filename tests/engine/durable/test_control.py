"""Pauses and cancels, wherever the run is."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.engine.control import Verb
from orchestrator.engine.residence import RESIDENT_RUNS, NodeMemory
from orchestrator.engine.slots import NodeSlots
from orchestrator.model.api import StartRun
from orchestrator.model.errors import RunConflict, RunNotFound
from orchestrator.model.ids import new_run_id
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from tests.engine.durable.driving import (
    control,
    patient,
    pause,
    quick,
    resident,
    signal,
)
from tests.engine.live import House, Options, serving
from tests.support.wait import until

HOUR = 3600.0


# -- pauses ----------------------------------------------------------------------------


@pytest.mark.requirement("R9.pause")
async def test_a_paused_run_starts_nothing_more_and_goes_on_when_resumed(house: House) -> None:
    flow = Workflow("w")
    door = anyio.Event()
    calls: list[str] = []

    @flow.task()
    async def first(ctx: Context) -> None:
        calls.append("first")
        await door.wait()

    @flow.task(after=[first])
    async def second(ctx: Context) -> None:
        calls.append("second")

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        await until(lambda: calls)
        await control(live, run, Verb.PAUSE)
        door.set()
        await until(lambda: run not in resident(live))
        assert (await house.row(run)).state == "paused"
        assert calls == ["first"]
        assert live.slots.free == live.slots.total
        assert await control(live, run, Verb.PAUSE) == "paused", "it is there already"
        await control(live, run, Verb.RESUME)
        await live.quiet()
    assert (await house.row(run)).state == "succeeded"
    assert calls == ["first", "second"]


async def test_a_paused_run_stays_paused_over_a_crash(house: House) -> None:
    door = anyio.Event()

    @job("w")
    async def flow(ctx: Context) -> None:
        await door.wait()

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        await until(lambda: live.slots.used)
        await control(live, run, Verb.PAUSE)
    door.set()
    async with serving(house, flow, options=Options(crashed=True)) as live:
        await live.quiet()
        assert (await house.row(run)).state == "paused"
        await control(live, run, Verb.RESUME)
        await live.quiet()
    assert (await house.row(run)).state == "succeeded"


async def test_a_run_paused_while_it_rests_goes_on_resting_when_resumed(house: House) -> None:
    @job("w")
    async def flow(ctx: Context) -> int:
        await ctx.sleep("1h")
        return 1

    async with serving(house, flow) as live:
        run = await live.run("w")
        await control(live, run, Verb.PAUSE)
        await live.later(2 * HOUR)
        assert (await house.row(run)).state == "paused"
        await control(live, run, Verb.RESUME)
        await live.quiet()
    assert await house.output(run) == 1


async def test_a_paused_queued_run_does_not_begin(house: House) -> None:
    async with serving(house, quick, max_concurrent_tasks=1) as live:
        (run,) = [r.id for r in await live.submit_all([StartRun(workflow="quick", delay="1h")])]
        await control(live, run, Verb.PAUSE)
        await live.later(2 * HOUR)
        assert (await house.row(run)).state == "paused"
    async with serving(house, quick) as live:
        await live.quiet()
        assert (await house.row(run)).state == "paused"
        await control(live, run, Verb.RESUME)
        await live.quiet()
    assert await house.output(run) == 1


@pytest.mark.parametrize("name", ["quick", ""], ids=["workflow", "tenant"])
@pytest.mark.requirement("R9.pause-workflow", "R9.pause-tenant")
async def test_what_is_paused_starts_nothing_until_resumed(house: House, name: str) -> None:
    async with serving(house, quick, patient) as live:
        rests = await live.run("patient")
        await pause(live, name)
        run = (await live.submit("quick")).id
        await live.quiet()
        assert (await house.row(run)).state == "queued"
        await signal(live, rests, "go", 1)
        await live.quiet()
        assert (await house.row(rests)).state == ("waiting" if name == "" else "succeeded")
    async with serving(house, quick, patient) as live:
        await live.quiet()
        assert (await house.row(run)).state == "queued", "a pause outlives the owner"
        await pause(live, name, paused=False)
        await live.quiet()
    assert await house.output(run) == 1
    assert await house.output(rests) == 1


@pytest.mark.parametrize("name", ["patient", ""], ids=["workflow", "tenant"])
async def test_a_signal_that_came_in_a_pause_is_not_lost_though_the_run_was_looked_at(
    house: House, name: str
) -> None:
    async with serving(house, patient) as live:
        run = await live.run("patient")
        await pause(live, name)
        await signal(live, run, "go", 1)
        await control(live, run, Verb.RESUME)
        await until(lambda: run not in resident(live))
        await pause(live, name, paused=False)
        await live.quiet()
    assert await house.output(run) == 1


async def test_a_paused_workflow_does_not_fill_the_memory_of_the_others(house: House) -> None:
    flow = Workflow("w")

    @flow.task()
    async def first(ctx: Context) -> None:
        await ctx.wait_signal("go")

    async with serving(house, flow, quick, patient) as live:
        await live.submit_all([StartRun(workflow="patient")] * 1200)
        await live.quiet()
        await pause(live, "patient")
        await house.admin.execute("UPDATE tenant_acme.wf_run SET due_at = now() WHERE epoch = 0")
        await live.submit_all([StartRun(workflow="patient")] * 1200)
        live.engine.poke()
        await live.quiet()
        assert await house.output(await live.run("quick")) == 1
        assert len(resident(live)) < 10


@pytest.mark.parametrize("limit", ["max_concurrent_tasks", "max_concurrent_runs"])
async def test_runs_that_wait_leave_when_their_workflow_is_paused(house: House, limit: str) -> None:
    door = anyio.Event()

    @job("w")
    async def flow(ctx: Context) -> None:
        await door.wait()

    slots = NodeSlots(64, NodeMemory(spare=0))
    options = Options(config=house.config(**{limit: 1}), slots=slots)
    async with serving(house, flow, quick, options=options) as live:
        await live.submit("w")
        await until(lambda: live.slots.used)
        await live.submit_all([StartRun(workflow="w") for _ in range(RESIDENT_RUNS)])
        await until(lambda: len(resident(live)) == RESIDENT_RUNS)
        await pause(live, "w")
        await until(lambda: len(resident(live)) == 1)
        (other,) = [r.id for r in await live.submit_all([StartRun(workflow="quick")])]
        await live.submit_all([StartRun(workflow="w")])
        await until(lambda: resident(live) >= {other} and len(resident(live)) == 2)
        door.set()
        await live.quiet()
        assert (await house.row(other)).state == "succeeded"
        assert (
            await house.value(
                "SELECT count(*) FROM tenant.wf_run WHERE state = 'queued' AND epoch = 0"
            )
            == 1 + RESIDENT_RUNS - 1 + 1
        )


async def test_what_is_due_in_a_paused_workflow_keeps_nobody_busy(house: House) -> None:
    async with serving(house, quick) as live:
        await live.submit_all([StartRun(workflow="quick", delay="1h")])
        await pause(live, "quick")
        await live.later(2 * HOUR)
        assert live.engine.next_due is None
        await pause(live, "quick", paused=False)
        await live.quiet()
        assert await house.value("SELECT state FROM tenant.wf_run") == "succeeded"


async def test_an_attempt_under_way_may_end_while_its_workflow_is_paused(house: House) -> None:
    flow = Workflow("w")
    door = anyio.Event()
    calls: list[str] = []

    @flow.task()
    async def first(ctx: Context) -> int:
        await door.wait()
        return 1

    @flow.task(after=[first])
    async def second(ctx: Context) -> None:
        calls.append("second")

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        await until(lambda: live.slots.used)
        await pause(live, "w")
        door.set()
        await until(lambda: not live.slots.used)
        await live.quiet()
        assert calls == []
        await pause(live, "w", paused=False)
        await live.quiet()
    assert (await house.row(run)).state == "succeeded"
    assert calls == ["second"]


# -- cancels ---------------------------------------------------------------------------


@pytest.mark.requirement("R9.cancel")
async def test_a_cancel_stops_a_running_attempt_and_returns_its_slot(house: House) -> None:
    seen: list[str] = []

    @job("w")
    async def flow(ctx: Context) -> None:
        seen.append("began")
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("cleaned up")

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        await until(lambda: seen)
        assert await control(live, run, Verb.CANCEL, "enough") == "cancelled"
        await live.quiet()
        await until(lambda: live.slots.free == live.slots.total)
        stored = await house.row(run)
        assert "enough" in (stored.error or "")
        assert stored.finished_at is not None
    assert seen == ["began", "cleaned up"]
    assert (await house.told(run))[-1] == "run.cancelled"


async def test_a_cancel_leaves_a_thread_to_itself_and_ignores_what_it_returns(
    house: House,
) -> None:
    door, begun, ended = threading.Event(), threading.Event(), threading.Event()

    @job("w")
    def flow(ctx: Context) -> int:
        begun.set()
        door.wait(10)
        ended.set()
        return 1

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        await until(begun.is_set)
        await control(live, run, Verb.CANCEL)
        await until(lambda: live.slots.free == live.slots.total)
        door.set()
        await until(ended.is_set)
        await live.quiet()
    assert (await house.told(run))[-1] == "run.cancelled"


async def test_a_run_can_be_cancelled_before_it_begins(house: House) -> None:
    calls: list[Any] = []

    @job("w")
    async def flow(ctx: Context) -> None:
        calls.append(1)

    async with serving(house, flow) as live:
        (run,) = [r.id for r in await live.submit_all([StartRun(workflow="w", delay="1h")])]
        await control(live, run, Verb.CANCEL)
        await live.later(2 * HOUR)
    assert (await house.row(run)).state == "cancelled"
    assert not calls


async def test_a_run_that_waits_for_a_slot_can_be_cancelled(house: House) -> None:
    door = anyio.Event()

    @job("w")
    async def flow(ctx: Context) -> None:
        await door.wait()

    async with serving(house, flow, max_concurrent_tasks=1) as live:
        first, second = (await live.submit("w")).id, (await live.submit("w")).id
        await until(lambda: live.slots.used)
        await control(live, second, Verb.CANCEL)
        door.set()
        await live.quiet()
    assert (await house.row(first)).state == "succeeded"
    assert (await house.row(second)).state == "cancelled"
    assert await house.told(second) == ["run.cancelled"]


async def test_a_run_that_rests_can_be_cancelled(house: House) -> None:
    async with serving(house, patient) as live:
        run = await live.run("patient")
        assert await control(live, run, Verb.CANCEL) == "cancelled"
        assert await control(live, run, Verb.CANCEL) == "cancelled", "it is there already"
        assert not resident(live)


@pytest.mark.parametrize("verb", list(Verb))
async def test_a_finished_run_never_moves_again(house: House, verb: Verb) -> None:
    async with serving(house, quick) as live:
        run = await live.run("quick")
        before = await house.told(run)
        with pytest.raises(RunConflict):
            await control(live, run, verb)
        await live.quiet()
        assert (await house.row(run)).state == "succeeded"
        assert await house.told(run) == before


@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.RESUME, Verb.RETRY])
@pytest.mark.requirement("R9.guard")
async def test_a_cancelled_run_never_comes_back_to_life(house: House, verb: Verb) -> None:
    async with serving(house, patient) as live:
        run = await live.run("patient")
        await control(live, run, Verb.CANCEL)
        with pytest.raises(RunConflict):
            await control(live, run, verb)
    async with serving(house, patient) as live:
        await live.quiet()
        assert (await house.row(run)).state == "cancelled"


async def test_a_run_that_is_not_there_can_not_be_changed(house: House) -> None:
    async with serving(house, quick) as live:
        with pytest.raises(RunNotFound):
            await control(live, new_run_id(), Verb.CANCEL)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.integers(0, 6), at=st.integers(0, 25))
@pytest.mark.requirement("R9.race")
async def test_a_cancel_races_with_completion_and_one_of_them_wins(
    house: House, steps: int, at: int
) -> None:
    flow = Workflow("w")
    ran: list[str] = []

    @flow.task()
    async def first(ctx: Context) -> None:
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        ran.append("first")

    @flow.task(after=[first])
    async def second(ctx: Context) -> None:
        ran.append("second")

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        for _ in range(at):
            await anyio.lowlevel.checkpoint()
        try:
            state = await control(live, run, Verb.CANCEL)
        except RunConflict:
            state = None
        await live.quiet()
        await until(lambda: live.slots.free == live.slots.total)
    stored = await house.row(run)
    told = await house.told(run)
    assert stored.state == ("succeeded" if state is None else "cancelled")
    assert told[-1] == f"run.{stored.state}"
    assert len([each for each in told if each in ("run.succeeded", "run.cancelled")]) == 1
    if "second" in ran:
        assert "task.succeeded first" in told
    await house.admin.execute("TRUNCATE tenant_acme.wf_run, tenant_acme.wf_event")
