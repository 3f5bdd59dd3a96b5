"""Runs that are submitted while their workflow or tenant is paused: stored, and no more than that.

They wait in the table from the beginning: in memory they would only take the room of others, and
leave it by a second write.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from orchestrator.engine.control import Verb
from orchestrator.engine.reply import Reply
from orchestrator.model.api import Started, StartRun
from orchestrator.model.errors import QuotaExceeded
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from tests.engine.durable.driving import (
    answer,
    control,
    patient,
    pause,
    quick,
    resident,
    signal,
)
from tests.engine.live import House, Live, Options, serving
from tests.support.proxy import CuttingProxy

RUNS = 20
ONE = StartRun(workflow="quick")
WRITTEN_ONCE_RESUMED = 4
"""The row as it begins and as it ends, each with what is told of it in the journal."""

in_each_pause = pytest.mark.parametrize("paused", ["quick", ""], ids=["workflow", "tenant"])


@in_each_pause
async def test_each_is_written_once_and_asks_for_nothing_else(house: House, paused: str) -> None:
    proxy = CuttingProxy(house.database.as_engine("acme"))
    async with (
        proxy.running(),
        serving(house, quick, options=Options(target=proxy.target)) as live,
    ):
        await live.run("quick")  # the driver asks about types at the first flush
        await pause(live, paused)
        await live.quiet()
        rows, statements = live.engine.rows, proxy.statements
        for _ in range(RUNS):
            await live.submit_all([ONE])
            assert not resident(live)
        await live.quiet()
        assert live.engine.rows - rows == RUNS
        assert proxy.statements - statements == RUNS
        await pause(live, paused, paused=False)
        await live.quiet()
        assert live.engine.rows - rows == RUNS + WRITTEN_ONCE_RESUMED * RUNS
    assert await house.value("SELECT count(*) FROM tenant.wf_run WHERE state = 'queued'") == 0


async def test_a_pause_of_another_workflow_changes_nothing(house: House) -> None:
    async with serving(house, quick, patient) as live:
        await pause(live, "patient")
        before = live.engine.rows
        run = await live.run("quick")
        assert live.engine.rows - before == WRITTEN_ONCE_RESUMED
    assert await house.output(run) == 1


def submit_first(live: Live, submitted: Reply[list[Started]], resumed: Reply[None]) -> None:
    """Submit, and resume while that is on its way."""
    live.engine.submit([ONE], submitted)
    live.engine.set_pause("quick", resumed, paused=False)


def resume_first(live: Live, submitted: Reply[list[Started]], resumed: Reply[None]) -> None:
    """Resume, and submit while that is on its way."""
    live.engine.set_pause("quick", resumed, paused=False)
    live.engine.submit([ONE], submitted)


@pytest.mark.parametrize("both", [submit_first, resume_first])
async def test_none_is_overlooked_by_a_resume_at_the_same_time(
    house: House, both: Callable[[Live, Reply[list[Started]], Reply[None]], None]
) -> None:
    submitted, resumed = Reply[list[Started]](), Reply[None]()
    async with serving(house, quick) as live:
        await pause(live, "quick")
        connection = await house.database.connect()
        async with connection.transaction():
            await connection.execute("SELECT epoch FROM tenant_acme.wf_fence FOR UPDATE")
            both(live, submitted, resumed)
            await anyio.wait_all_tasks_blocked()
        await answer(resumed)
        (run,) = await answer(submitted)
        await live.quiet()
    assert await house.output(run.id) == 1


async def test_those_on_their_way_and_those_stored_count_for_the_length_of_the_queue(
    house: House,
) -> None:
    keyed = StartRun(workflow="quick", key="k")
    async with serving(house, quick, max_queue_length=2) as live:
        await pause(live)
        replies = [Reply[list[Started]]() for _ in range(3)]
        for reply, run in zip(replies, (keyed, keyed, ONE), strict=True):
            live.engine.submit([run], reply)
        first, again = [await answer(reply) for reply in replies[:2]]
        with pytest.raises(QuotaExceeded, match="has 2 runs waiting and may have 2"):
            await answer(replies[2])
        assert first[0].id == again[0].id, "it is one run, and counts as one from now on"
        await live.quiet()
        await live.submit_all([ONE])
        with pytest.raises(QuotaExceeded, match="has 2 runs waiting and may have 2"):
            await live.submit_all([ONE])
        await pause(live, paused=False)
        await live.quiet()
        await live.submit_all([ONE, ONE])


async def test_the_most_urgent_begins_first_after_the_pause(house: House) -> None:
    began: list[int] = []

    @job("w")
    async def flow(ctx: Context, priority: int) -> None:
        began.append(priority)

    async with serving(house, flow, max_concurrent_tasks=1) as live:
        await pause(live, "w")
        for priority in (0, 9, 5):
            run = StartRun(workflow="w", input={"priority": priority}, priority=priority)
            await live.submit_all([run])
        await pause(live, "w", paused=False)
        await live.quiet()
    assert began == [9, 5, 0]


async def test_a_signal_and_a_cancel_find_them(house: House) -> None:
    async with serving(house, patient) as live:
        await pause(live)
        told, unwanted = await live.submit_all([StartRun(workflow="patient")] * 2)
        await signal(live, told.id, "go", 7)
        assert await control(live, unwanted.id, Verb.CANCEL) == "cancelled"
        assert not resident(live)
        await pause(live, paused=False)
        await live.quiet()
    assert await house.output(told.id) == 7
    assert (await house.row(unwanted.id)).state == "cancelled"
