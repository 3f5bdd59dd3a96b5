"""What people read of a run."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.model.states import TaskState
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.testing import Harness

order = Workflow("order")


@order.task()
async def book(ctx: Context) -> str:
    return "booked"


@order.task(after=[book])
async def approve(ctx: Context) -> None:
    await ctx.wait_signal("approved")


@order.task(after=[approve])
async def ship(ctx: Context) -> None: ...


def states(run: Harness) -> list[TaskState]:
    """Return where the tasks stand, in their order."""
    return [task.state for task in run.tasks.values()]


async def test_the_tasks_of_a_cancelled_run_are_cancelled_but_those_that_had_settled() -> None:
    async with Harness(order) as run:
        await run.until_idle()
        assert states(run) == ["succeeded", "parked", "waiting"]

        await run.cancel()

        assert states(run) == ["succeeded", "cancelled", "cancelled"]
        assert run.tasks["approve"].finished_at == run.now
        assert run.tasks["ship"].finished_at is None


async def test_so_are_those_of_a_run_whose_time_is_over_until_it_is_retried() -> None:
    async with Harness(order, deadline="1h") as run:
        await run.advance("1h")
        assert (run.state, states(run)) == ("failed", ["succeeded", "cancelled", "cancelled"])

        await run.retry()
        assert (run.state, states(run)) == ("waiting", ["succeeded", "parked", "waiting"])

        await run.signal("approved")
        assert states(run) == ["succeeded"] * 3


async def test_a_run_that_rests_tells_until_when_and_its_deadline() -> None:
    nap = Workflow("nap")

    @nap.task()
    async def sleep(ctx: Context) -> None:
        await ctx.sleep("1h")

    async with Harness(nap, deadline="1d") as run:
        await run.until_idle()
        assert run.view.due_at == run.now + timedelta(hours=1)
        assert run.view.deadline_at == run.now + timedelta(days=1)

        await run.finish()
        assert run.view.due_at is None
