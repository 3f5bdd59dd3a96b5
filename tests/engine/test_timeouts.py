"""An attempt, a task and all its attempts end in time, whoever does not want to."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import structlog

from orchestrator.engine import entries
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from orchestrator.workflow.retry import Retry
from orchestrator.workflow.rules import When
from tests.engine.live import THREADS, House, serving
from tests.support.wait import until


@pytest.mark.requirement("R5.attempt")
async def test_an_async_attempt_ends_at_its_timeout(house: House) -> None:
    ended: list[str] = []

    @job("w", timeout="50ms")
    async def slow(ctx: Context) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cleaned up")

    async with serving(house, slow) as live:
        run = await live.run("w")
    assert (await house.error(run))["type"] == "AttemptTimeout"
    assert ended == ["cleaned up"]


@pytest.mark.requirement("R5.task")
async def test_all_attempts_together_end_in_time(house: House) -> None:
    begun: list[str] = []
    within = Retry(attempts=99, initial="2s", cap="2s", jitter=0, within="5s")
    flow = Workflow("w")

    @flow.task(retry=within)
    async def fails(ctx: Context) -> None:
        begun.append("fails")
        raise ValueError("again")

    @flow.task(retry=within)
    async def hangs(ctx: Context) -> None:
        begun.append("hangs")
        await anyio.sleep_forever()

    @flow.task(retry=within)
    async def waits(ctx: Context) -> None:
        begun.append("waits")
        await ctx.wait_signal("go")

    @flow.task(after=[fails, hangs, waits], when=When.ALL_DONE)
    async def after(ctx: Context) -> str:
        return "after"

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        for count in (1, 2, 3):
            await until(lambda: begun.count("fails") == count)  # noqa: B023 - asked in this round
            await until(lambda: live.slots.used == 1, what="only the one that hangs is at work")
            await house.skip(2.1)
            live.clock.advance(2.1)
            live.engine.tick()
        await live.quiet()
    failed = {
        e.task: e.error for e in await house.journal(run) if isinstance(e, entries.TaskFailed)
    }
    assert {name: error.type for name, error in failed.items()} == {
        "fails": "ValueError",
        "hangs": "DeadlineExceeded",
        "waits": "DeadlineExceeded",
    }
    assert "5s over all its attempts" in failed["hangs"].message
    assert "task.succeeded after" in await house.told(run)


@pytest.mark.requirement("R5.clock")
async def test_a_task_that_waits_outside_memory_ends_in_time_over_a_restart(house: House) -> None:
    @job("w", retry=Retry(within="1h"))
    async def waits(ctx: Context) -> Any:
        return await ctx.wait_signal("go")

    async with serving(house, waits) as live:
        run = await live.run("w")
        assert live.engine.next_due is not None
    await house.skip(1800)
    async with serving(house, waits) as live:
        await live.quiet()
        assert (await house.row(run)).state == "waiting"
        await live.later(1801)
    assert (await house.error(run))["type"] == "DeadlineExceeded"


@pytest.mark.requirement("R5.thread")
async def test_a_thread_that_is_left_behind_can_not_use_the_database(house: House) -> None:
    release, tried = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    @job("w", timeout="50ms")
    def slow(ctx: Context) -> None:
        database = ctx.db
        release.wait(20)
        for query in (lambda: ctx.db.execute("SELECT 1"), lambda: database.execute("SELECT 1")):
            try:
                anyio.from_thread.run(query)
            except BaseException as error:  # noqa: BLE001 - whatever refuses it
                errors.append(error)
        tried.set()

    async with serving(house, slow) as live:
        run = await live.run("w")
        release.set()
        assert await anyio.to_thread.run_sync(tried.wait, 20)
    assert (await house.error(run))["type"] == "AttemptTimeout"
    assert len(errors) == 2


async def test_a_thread_that_is_left_behind_keeps_its_place_until_it_ends(house: House) -> None:
    release = threading.Event()
    now, most = [0], [0]

    @job("w", timeout="50ms")
    def slow(ctx: Context, number: int) -> None:
        now[0] += 1
        most.append(now[0])
        release.wait(20)
        now[0] -= 1

    @job("fine", timeout="10s")
    def fine(ctx: Context) -> int:
        return 1

    with structlog.testing.capture_logs() as logs:
        async with serving(house, slow, fine) as live:
            runs = [await live.submit("w", number=number) for number in range(THREADS + 3)]
            await live.quiet()
            waits = (await live.submit("fine")).id
            release.set()
            await live.quiet()
    assert [(await house.error(run.id))["type"] for run in runs] == ["AttemptTimeout"] * len(runs)
    assert max(most) == THREADS
    assert await house.output(waits) == 1
    abandoned = [each["busy"] for each in logs if each["event"] == "thread.abandoned"]
    assert len(abandoned) == THREADS
