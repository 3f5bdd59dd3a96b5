"""`ctx.start_child` and `ctx.wait`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import anyio
import pytest

from orchestrator.engine import entries
from orchestrator.engine.control import Verb
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Job, Workflow, job
from orchestrator.workflow.durable import Child, ChildFailed
from orchestrator.workflow.retry import Retry
from tests.engine.durable.driving import control, crash_at, resident, signal
from tests.engine.live import House, Live, Options, serving
from tests.support.proxy import When
from tests.support.wait import until

HOUR = 3600.0


@job("double")
async def double(ctx: Context, n: int) -> int:
    """Return twice the number."""
    return 2 * n


@job("unlucky")
async def unlucky(ctx: Context) -> None:
    """Fail."""
    raise ValueError("no luck")


@job("patient")
async def patient(ctx: Context) -> Any:
    """Wait for somebody."""
    return await ctx.wait_signal("go")


async def children(house: House, parent: UUID) -> list[UUID]:
    """Return the children that the parent's journal tells of."""
    return [e.child for e in await house.journal(parent) if isinstance(e, entries.ChildStarted)]


async def test_a_parent_gets_what_its_children_return(house: House) -> None:
    @job("parent")
    async def parent(ctx: Context) -> list[int]:
        kids = [await ctx.start_child("double", {"n": n}) for n in range(3)]
        return [await ctx.wait(kid) for kid in kids]

    async with serving(house, parent, double) as live:
        run = await live.run("parent")
        assert live.slots.free == live.slots.total
    assert await house.output(run) == [0, 2, 4]


async def test_a_child_that_failed_raises_in_the_parent(house: House) -> None:
    @job("parent")
    async def parent(ctx: Context) -> list[str]:
        kid = await ctx.start_child("unlucky")
        try:
            await ctx.wait(kid)
        except ChildFailed as error:
            return [error.state, str(error)]
        return []

    async with serving(house, parent, unlucky) as live:
        run = await live.run("parent")
    state, text = await house.output(run)
    assert state == "failed"
    assert "no luck" in text


async def test_a_child_that_was_cancelled_raises_in_the_parent(house: House) -> None:
    @job("parent")
    async def parent(ctx: Context) -> str:
        kid = await ctx.start_child("patient")
        try:
            await ctx.wait(kid)
        except ChildFailed as error:
            return error.state
        return ""

    async with serving(house, parent, patient) as live:
        run = await live.run("parent")
        (kid,) = await children(house, run)
        await control(live, kid, Verb.CANCEL)
        await live.quiet()
    assert await house.output(run) == "cancelled"


async def test_a_parent_leaves_memory_while_its_child_rests_and_comes_back(house: House) -> None:
    @job("parent")
    async def parent(ctx: Context) -> Any:
        return await ctx.wait(await ctx.start_child("patient"))

    async with serving(house, parent, patient) as live:
        run = await live.run("parent")
        assert not resident(live)
        (kid,) = await children(house, run)
        await signal(live, kid, "go", 5)
        await live.quiet()
    assert await house.output(run) == 5


@pytest.mark.requirement("R6.child")
async def test_a_child_that_ended_under_another_owner_is_seen(house: House) -> None:
    @job("parent")
    async def parent(ctx: Context) -> Any:
        kid = await ctx.start_child("patient")
        await ctx.sleep("1h")
        return await ctx.wait(kid)

    async with serving(house, parent, patient) as live:
        run = await live.run("parent")
    (kid,) = await children(house, run)
    async with serving(house, parent, patient) as live:
        await signal(live, kid, "go", 5)
        await live.quiet()
        assert (await house.row(kid)).state == "succeeded"
        assert (await house.row(run)).state == "waiting"
    async with serving(house, parent, patient) as live:
        await live.later(HOUR + 1)
    assert await house.output(run) == 5


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.requirement("R6.child")
async def test_a_child_is_started_once_whenever_the_process_dies(house: House, when: When) -> None:
    @job("parent")
    async def parent(ctx: Context) -> list[int]:
        kids = [await ctx.start_child("double", {"n": n}) for n in (1, 2)]
        return [await ctx.wait(kid) for kid in kids]

    async def drive(live: Live) -> None:
        await live.run("parent")

    for cut_at in range(3, 60):
        if not await crash_at(house, [parent, double], cut_at, when, drive):
            break
        async with serving(house, parent, double, options=Options(crashed=True)) as live:
            await live.quiet()
        run = await house.value("SELECT id FROM tenant.wf_run WHERE workflow = 'parent'")
        if run is not None:
            assert await house.output(run) == [2, 4], cut_at
            assert await house.value("SELECT count(*) FROM tenant.wf_run") == 3
        await house.admin.execute("TRUNCATE tenant_acme.wf_run, tenant_acme.wf_event")
    else:
        raise AssertionError("it never got to the end")
    assert cut_at > 6


async def test_a_child_can_be_waited_for_again(house: House) -> None:
    @job("parent")
    async def parent(ctx: Context) -> list[Any]:
        kid = await ctx.start_child("double", {"n": 1})
        first = await ctx.wait(kid)
        await ctx.sleep("1h")
        return [first, await ctx.wait(kid)]

    async with serving(house, parent, double) as live:
        run = await live.run("parent")
        await live.later(HOUR + 1)
    assert await house.output(run) == [2, 2]


async def test_a_task_can_wait_for_the_child_of_another(house: House) -> None:
    flow = Workflow("parent")

    @flow.task()
    async def begin(ctx: Context) -> Any:
        return await ctx.start_child("patient")

    @flow.task(after=[begin])
    async def end(ctx: Context) -> Any:
        kid: Any = ctx.output(begin)
        return await ctx.wait(Child(UUID(kid["id"]), kid["workflow"]))

    async with serving(house, flow, patient) as live:
        run = await live.run("parent")
        (kid,) = await children(house, run)
        await signal(live, kid, "go", 5)
        await live.quiet()
    assert await house.output(run) == 5


async def test_waiting_for_a_run_that_is_no_child_fails_the_attempt(house: House) -> None:
    @job("parent")
    async def parent(ctx: Context) -> Any:
        return await ctx.wait(Child(ctx.run_id, "parent"))

    async with serving(house, parent) as live:
        run = await live.run("parent")
    assert "not a child" in (await house.error(run))["message"]


def parents() -> Job:
    """Return a workflow that leaves one child of each kind behind when it is told to."""

    @job("parent")
    async def parent(ctx: Context) -> None:
        await ctx.start_child("patient")
        await ctx.start_child("patient", on_close="abandon")
        if await ctx.wait_signal("end") == "fail":
            raise ValueError("as told")

    return parent


@pytest.mark.parametrize("how", ["succeed", "fail", "cancel"])
@pytest.mark.requirement("R6.close")
async def test_children_end_with_their_parent_unless_abandoned(house: House, how: str) -> None:
    async with serving(house, parents(), patient) as live:
        run = await live.run("parent")
        tied, free = await children(house, run)
        if how == "cancel":
            await control(live, run, Verb.CANCEL)
        else:
            await signal(live, run, "end", how)
        await live.quiet()
        assert (await house.row(tied)).state == "cancelled"
        assert (await house.row(free)).state == "waiting"


@pytest.mark.requirement("R9.cascade")
async def test_a_cancel_reaches_the_children_of_children(house: House) -> None:
    @job("middle")
    async def middle(ctx: Context) -> Any:
        return await ctx.wait(await ctx.start_child("patient"))

    @job("top")
    async def top(ctx: Context) -> Any:
        return await ctx.wait(await ctx.start_child("middle"))

    async with serving(house, top, middle, patient) as live:
        run = await live.run("top")
        await control(live, run, Verb.CANCEL)
        await live.quiet()
    states = await house.admin.fetch("SELECT DISTINCT state FROM tenant_acme.wf_run")
    assert [row["state"] for row in states] == ["cancelled"]


@pytest.mark.slow
async def test_children_end_with_their_parent_though_the_process_dies_between(
    house: House,
) -> None:
    parent = parents()

    async def drive(live: Live) -> None:
        run = await live.run("parent")
        await control(live, run, Verb.CANCEL)
        await live.quiet()

    cuts = 0
    for cut_at in range(3, 60):
        if not await crash_at(house, [parent, patient], cut_at, "after", drive):
            break
        async with serving(house, parent, patient, options=Options(crashed=True)) as live:
            await live.quiet()
            run = await house.value("SELECT id FROM tenant.wf_run WHERE workflow = 'parent'")
            if run is not None and (await house.row(run)).state == "cancelled":
                cuts += 1
                tied, free = await children(house, run)
                assert (await house.row(tied)).state == "cancelled"
                assert (await house.row(free)).state == "waiting"
        await house.admin.execute("TRUNCATE tenant_acme.wf_run, tenant_acme.wf_event")
    assert cuts


async def test_a_child_over_the_quota_fails_the_attempt(house: House) -> None:
    @job("parent", retry=Retry(attempts=2, initial="1ms"))
    async def parent(ctx: Context) -> list[Any]:
        kids = [await ctx.start_child("double", {"n": n}) for n in range(4)]
        return [await ctx.wait(kid) for kid in kids]

    async with serving(house, parent, double, max_runs_per_hour=3) as live:
        run = await live.run("parent")
        await live.later(1)
        assert (await house.error(run))["type"] == "QuotaExceeded"
        assert await house.value("SELECT count(*) FROM tenant.wf_run") == 3


@pytest.mark.parametrize(
    ("workflow", "given", "error"),
    [("nothing", {}, "WorkflowNotFound"), ("double", {"n": "x"}, "InvalidInput")],
)
async def test_a_child_that_can_not_be_started_fails_the_attempt(
    house: House, workflow: str, given: dict[str, Any], error: str
) -> None:
    @job("parent")
    async def parent(ctx: Context) -> None:
        await ctx.start_child(workflow, given)

    async with serving(house, parent, double) as live:
        run = await live.run("parent")
    assert (await house.error(run))["type"] == error


async def test_a_cancelled_parent_starts_no_child_any_more(house: House) -> None:
    seen: list[str] = []

    @job("parent")
    async def parent(ctx: Context) -> None:
        seen.append("in")
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    await ctx.start_child("patient")
                except Exception as error:
                    seen.append(type(error).__name__)
                    raise

    async with serving(house, parent, patient) as live:
        run = (await live.submit("parent")).id
        await until(lambda: seen)
        await control(live, run, Verb.CANCEL)
        await until(lambda: len(seen) > 1)
        await live.quiet()
    assert seen == ["in", "AttemptOver"]
    assert await house.value("SELECT count(*) FROM tenant.wf_run") == 1
