"""Finished runs are deleted when their time is over, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.engine.retention import BATCH
from orchestrator.model.api import StartRun
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from tests.engine.live import House, serving
from tests.support.wait import until

DAY = 24 * 3600


@job("quick")
async def quick(ctx: Context) -> int:
    """Return at once."""
    return 1


@job("patient")
async def patient(ctx: Context) -> Any:
    """Wait for somebody."""
    return await ctx.wait_signal("go")


parent = Workflow("parent")


@parent.task()
async def starts(ctx: Context) -> Any:
    """Wait long before it asks for its child."""
    child = await ctx.start_child("quick", {})
    await ctx.wait_signal("go")
    return await ctx.wait(child)


@pytest.mark.requirement("quota.retention_days")
async def test_what_finished_long_enough_ago_is_deleted_with_all_that_belongs_to_it(
    house: House,
) -> None:
    async with serving(house, quick, patient, parent) as live:
        await live.submit_all(
            [StartRun(workflow="quick", key="k"), *[StartRun(workflow="quick")] * BATCH]
        )
        waits, family = await live.run("patient"), await live.run("parent")
    await house.value(
        "INSERT INTO tenant.wf_fire (schedule, fire_at, outcome)"
        " VALUES ('s', now(), 'missed'), ('t', now(), 'held')"
    )
    await house.skip(1.5 * DAY)
    async with serving(house, quick, patient, parent) as live:
        young = await live.run("quick")
    await house.skip(DAY)
    async with serving(house, quick, patient, parent, retention_days=2) as live:
        await until(lambda: house.value("SELECT count(*) = 4 FROM tenant.wf_run"))
        await until(lambda: house.value("SELECT count(*) = 1 FROM tenant.wf_fire"))
        assert not (await live.submit("quick", key="k")).known
        await live.quiet()
    left = await house.admin.fetch("SELECT workflow FROM tenant_acme.wf_run ORDER BY 1")
    assert [row[0] for row in left] == ["parent", "patient", "quick", "quick", "quick"]
    for run in (waits, family, young):
        assert await house.told(run)
    events = "SELECT count(DISTINCT run_id) FROM tenant.wf_event"
    assert await house.value(events) == len(left)


async def test_without_a_limit_everything_is_kept(house: House) -> None:
    async with serving(house, quick) as live:
        run = await live.run("quick")
    await house.skip(10_000 * DAY)
    async with serving(house, quick) as live:
        await live.quiet()
        await live.run("quick")
    assert await house.told(run)
