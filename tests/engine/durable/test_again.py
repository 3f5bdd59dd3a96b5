"""Retries of failed runs, repetitions, deadlines, delays and the order of the queue."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from orchestrator.engine.control import Verb
from orchestrator.engine.slots import NodeSlots
from orchestrator.model.api import StartRun
from orchestrator.model.errors import RunConflict, RunNotFound
from orchestrator.model.ids import new_run_id
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from orchestrator.workflow.retry import Retry
from tests.engine.durable.driving import (
    control,
    fork,
    patient,
    quick,
    reading,
    resident,
    signal,
)
from tests.engine.live import House, Options, serving
from tests.support.wait import until

HOUR = 3600.0


# -- again -----------------------------------------------------------------------------


@pytest.mark.requirement("R9.retry")
async def test_a_failed_run_goes_on_from_the_failed_task(house: House) -> None:
    flow = Workflow("w")
    calls: list[Any] = []

    @flow.task()
    async def load(ctx: Context) -> int:
        calls.append("load")
        return 1

    @flow.task(after=[load])
    async def work(ctx: Context) -> int:
        calls.append("work")
        if calls.count("work") == 1:
            raise ValueError("no")
        return 2

    @flow.task(after=[work])
    async def tell(ctx: Context) -> int:
        return ctx.output(load) + int(ctx.output(work))

    async with serving(house, flow) as live:
        run = await live.run("w")
        assert (await house.row(run)).state == "failed"
        await control(live, run, Verb.RETRY)
        await live.quiet()
    assert await house.output(run) == 3
    assert calls == ["load", "work", "work"]
    assert (await house.row(run)).error is None


async def test_a_run_that_missed_its_deadline_can_be_retried_without_it(house: House) -> None:
    async with serving(house, patient) as live:
        (run,) = [
            r.id for r in await live.submit_all([StartRun(workflow="patient", deadline="1h")])
        ]
        await live.quiet()
        await live.later(HOUR + 1)
        assert (await house.error(run))["type"] == "DeadlineExceeded"
        await control(live, run, Verb.RETRY)
        await live.quiet()
        assert (await house.row(run)).state == "waiting"
        await signal(live, run, "go", 1)
        await live.quiet()
    assert await house.output(run) == 1


@pytest.mark.requirement("R9.rerun", "R9.fork")
async def test_a_run_is_repeated_whole_or_from_a_task_on(house: House) -> None:
    flow = Workflow("w")
    calls: list[Any] = []

    @flow.task()
    async def load(ctx: Context, n: int) -> int:
        return n + int(await ctx.step("load", reading(calls), "load"))

    @flow.task(after=[load])
    async def work(ctx: Context) -> int:
        return 10 * ctx.output(load)

    async with serving(house, flow) as live:
        run = await live.run("w", n=1)
        from_work, whole = await fork(live, run, "work"), await fork(live, run)
        await live.quiet()
        assert await house.output(from_work) == 20
        assert await house.output(whole) == 30
        with pytest.raises(RunConflict, match="no task"):
            await fork(live, run, "nothing")
        with pytest.raises(RunNotFound):
            await fork(live, new_run_id())
    assert calls == ["load", "load"]


async def test_a_run_whose_tasks_changed_can_not_be_repeated_from_one(house: House) -> None:
    before, after = Workflow("w"), Workflow("w")
    before.task(name="a")(quick.tasks["quick"].function)
    after.task(name="b")(quick.tasks["quick"].function)
    async with serving(house, before) as live:
        run = await live.run("w")
    async with serving(house, after) as live:
        with pytest.raises(RunConflict):
            await fork(live, run, "b")
        again = await fork(live, run)
        await live.quiet()
        assert await house.output(again) == 1


# -- time ------------------------------------------------------------------------------


@pytest.mark.requirement("R5.run", "R8.deadline")
async def test_a_run_that_does_not_end_in_time_fails(house: House) -> None:
    @job("w")
    async def flow(ctx: Context) -> None:
        await anyio.sleep_forever()

    async with serving(house, flow) as live:
        (run,) = [r.id for r in await live.submit_all([StartRun(workflow="w", deadline="1h")])]
        await until(lambda: live.slots.used)
        await live.later(HOUR + 1)
        assert (await house.error(run))["type"] == "DeadlineExceeded"
        await until(lambda: live.slots.free == live.slots.total)


async def test_a_deadline_finds_a_run_that_rests_outside_memory(house: House) -> None:
    async with serving(house, patient) as live:
        (run,) = [
            r.id for r in await live.submit_all([StartRun(workflow="patient", deadline="1h")])
        ]
        await live.quiet()
        assert not resident(live)
        await live.later(HOUR + 1)
    assert (await house.error(run))["type"] == "DeadlineExceeded"


@pytest.mark.requirement("R5.clock")
async def test_a_deadline_that_passed_while_nobody_was_there_starts_nothing(house: House) -> None:
    calls: list[Any] = []

    @job("w")
    async def flow(ctx: Context) -> None:
        calls.append(1)

    async with serving(house, flow) as live:
        wanted = StartRun(workflow="w", delay="1h", deadline="1h")
        (run,) = [r.id for r in await live.submit_all([wanted])]
    await house.skip(3 * HOUR)
    async with serving(house, flow) as live:
        await live.quiet()
    assert (await house.error(run))["type"] == "DeadlineExceeded"
    assert not calls


async def test_a_deadline_that_has_passed_at_once_is_recorded_whole(house: House) -> None:
    async with serving(house, quick) as live:
        (run,) = [r.id for r in await live.submit_all([StartRun(workflow="quick", deadline="0s")])]
        await live.quiet()
        stored = await house.row(run)
        assert stored.state == "failed"
        assert stored.finished_at is not None
        assert (await house.error(run))["type"] == "DeadlineExceeded"
        assert await house.told(run) == ["run.failed"]


@pytest.mark.requirement("R8.delay")
async def test_a_delayed_run_begins_when_its_time_has_come(house: House) -> None:
    async with serving(house, quick) as live:
        at = live.engine.now.replace(microsecond=0)
        runs = await live.submit_all(
            [
                StartRun(workflow="quick", delay="1h"),
                StartRun(workflow="quick", at=at.replace(year=at.year + 1)),
                StartRun(workflow="quick", at=at),
            ]
        )
        await live.quiet()
        states = [(await house.row(run.id)).state for run in runs]
        assert states == ["queued", "queued", "succeeded"]
        await live.later(HOUR + 1)
        assert (await house.row(runs[0].id)).state == "succeeded"
        await live.later(366 * 24 * HOUR)
        assert (await house.row(runs[1].id)).state == "succeeded"


@pytest.mark.requirement("R8.delay")
async def test_what_is_done_to_a_delayed_run_does_not_let_it_begin_too_early(house: House) -> None:
    async with serving(house, quick) as live:
        (started,) = await live.submit_all([StartRun(workflow="quick", delay="1h")])
        for verb, state in ((Verb.RESUME, "queued"), (Verb.PAUSE, "paused")):
            await control(live, started.id, verb)
            await live.quiet()
            assert (await house.row(started.id)).state == state
    async with serving(house, quick) as live:
        await control(live, started.id, Verb.RESUME)
        await live.quiet()
        assert (await house.row(started.id)).state == "queued"
        assert started.id not in resident(live)
        await live.later(HOUR - 10)
        assert (await house.row(started.id)).state == "queued"
        await live.later(11)
    assert (await house.row(started.id)).state == "succeeded"


@pytest.mark.requirement("R4.restart")
async def test_a_backoff_frees_its_slot_and_survives_a_crash(house: House) -> None:
    calls: list[Any] = []

    @job("w", retry=Retry(attempts=2, initial="1h", cap="1h", jitter=0.0))
    async def flow(ctx: Context) -> int:
        calls.append(ctx.attempt)
        if len(calls) == 1:
            raise ValueError("no")
        return 1

    async with serving(house, flow) as live:
        run = await live.run("w")
        assert live.slots.free == live.slots.total
        assert not resident(live)
    await house.skip(HOUR / 2)
    async with serving(house, flow, options=Options(crashed=True)) as live:
        await live.quiet()
        assert calls == [1]
        await live.later(HOUR)
    assert await house.output(run) == 1
    assert calls == [1, 2]


@pytest.mark.requirement("R8.priority")
async def test_urgent_runs_go_first_and_old_ones_catch_up(house: House) -> None:
    order: list[Any] = []
    door = anyio.Event()

    @job("hold")
    async def hold(ctx: Context) -> None:
        await door.wait()

    @job("w")
    async def flow(ctx: Context, name: str) -> None:
        order.append(name)

    def run(name: str, priority: int) -> StartRun:
        return StartRun(workflow="w", input={"name": name}, priority=priority)

    async with serving(house, flow, hold, options=Options(slots=NodeSlots(1))) as live:
        await live.submit("hold")
        await until(lambda: live.slots.used)
        await live.submit_all([run("old", 0)])
        live.clock.advance(6 * 60)
        await live.submit_all([run("plain", 0), run("urgent", 5), run("most urgent", 9)])
        door.set()
        await live.quiet()
    assert order == ["most urgent", "old", "urgent", "plain"]
