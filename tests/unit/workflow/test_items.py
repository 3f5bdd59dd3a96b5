"""How many items a run may go over."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.retry import Retry
from orchestrator.workflow.testing import Finished, TenantInfo, run_workflow

flow = Workflow("flow")


async def same(item: int) -> int:
    """Return the item."""
    return item


@flow.task(retry=Retry(attempts=2, initial="1s"))
async def first(ctx: Context, count: int) -> list[int]:
    """Go over the items, the second time to the end."""
    done = await ctx.map(same, range(count))
    if ctx.attempt == 1:
        raise ConnectionError("again")
    return done


@flow.task(after=[first])
async def second(ctx: Context, count: int) -> list[int]:
    """Go over them twice more."""
    return [*await ctx.map(same, range(count)), *await ctx.map(same, range(count))]


async def run(count: int, **limits: Any) -> Finished:
    """Run it for a tenant with these limits."""
    return await run_workflow(flow, input={"count": count}, tenant=TenantInfo(limits=limits))


@pytest.mark.requirement("quota.items_over")
async def test_a_run_over_its_items_takes_the_first_and_says_so() -> None:
    done = await run(4, max_items_per_run=6, items_over="truncate")

    assert done.tasks["first"].output == [0, 1, 2, 3]
    assert done.output == [0, 1]
    assert done.context == {
        "count": 4,
        "data_limited": True,
        "original_count": 12,
        "processed_count": 6,
    }


@pytest.mark.requirement("quota.max_items_per_run", "quota.items_over")
async def test_a_run_over_its_items_fails_unless_it_may_leave_some_out() -> None:
    done = await run(4, max_items_per_run=6)

    assert done.state == "failed"
    assert done.error is not None
    assert (done.error.task, done.error.type) == ("second", "QuotaExceeded")
    assert "max_items_per_run" in done.error.message


async def test_what_fits_is_gone_over_and_without_a_limit_nothing_is_counted() -> None:
    fits = await run(2, max_items_per_run=6)
    free = await run(2)

    assert fits.output == free.output == [0, 1, 0, 1]
    assert fits.context == {"count": 2, "original_count": 6, "processed_count": 6}
    assert free.context == {"count": 2}
