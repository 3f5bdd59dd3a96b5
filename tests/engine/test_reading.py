"""What is read of a run when nobody serves its tenant, and what its tasks were told."""

from __future__ import annotations

from uuid import UUID

import pytest

from orchestrator.engine.control import Verb
from orchestrator.engine.reply import Reply
from orchestrator.engine.views import events_of, view_of
from orchestrator.model.api import RunView
from orchestrator.model.states import RunState
from orchestrator.store.tenant import runs
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from orchestrator.workflow.registry import Registry
from orchestrator.workflow.retry import Retry
from orchestrator.workflow.rules import When
from tests.engine.live import SCHEMA, House, Options, serving

report = Workflow("report")


@report.task(retry=Retry(attempts=2, initial="1s", jitter=0))
async def load(ctx: Context) -> int:
    """Succeed the second time."""
    if ctx.attempt == 1:
        raise ConnectionError("not yet")
    ctx.set("rows", 3)
    return 3


@report.task(after=[load])
async def check(ctx: Context) -> None:
    """Fail for good."""
    raise ValueError("too few rows")


@report.task(after=[check], when=When.ALL_DONE)
async def tidy(ctx: Context) -> str:
    """Come after it all the same."""
    return "tidy"


async def seen(house: House, run: UUID) -> RunView:
    """Return what is to be seen of a run where its workflow is not known and no engine runs."""
    return view_of(
        await house.row(run), await runs.history(house.admin, SCHEMA, run), Registry.of([])
    )


@pytest.mark.requirement("R14.read")
async def test_everything_about_a_run_is_read_without_its_worker(house: House) -> None:
    async with serving(house, report) as live:
        run = await live.run("report", month=1)
        await live.later(1)

    view = await seen(house, run)

    assert (view.state, view.output) == ("failed", None)
    assert view.context == {"month": 1, "rows": 3}
    assert view.error is not None
    assert (view.error.task, view.error.message) == ("check", "too few rows")
    assert "in check" in (view.error.traceback or "")
    tasks = {task.name: task for task in view.tasks}
    assert (tasks["load"].attempt, tasks["load"].output) == (2, 3)
    assert [tasks[name].state for name in ("load", "check", "tidy")] == [
        "succeeded",
        "failed",
        "succeeded",
    ]
    assert tasks["load"].started_at is not None
    assert tasks["load"].finished_at is not None
    assert tasks["load"].started_at < tasks["load"].finished_at
    assert None not in {view.created_at, view.started_at, view.finished_at}


@pytest.mark.requirement("R14.read")
async def test_what_a_cancel_cut_off_is_shown_as_cancelled(house: House) -> None:
    flow = Workflow("w")

    @flow.task()
    async def first(ctx: Context) -> int:
        return 1

    @flow.task(after=[first])
    async def waits(ctx: Context) -> None:
        await ctx.wait_signal("go", timeout="1d")

    async with serving(house, flow) as live:
        run = await live.run("w")
        reply: Reply[RunState] = Reply()
        live.engine.control(run, Verb.CANCEL, "enough", reply)
        assert await reply.wait() == "cancelled"

    view = await seen(house, run)
    assert [(task.name, task.state) for task in view.tasks] == [
        ("first", "succeeded"),
        ("waits", "cancelled"),
    ]
    assert (view.tasks[1].due_at, view.reason) == (None, "enough")
    assert view.tasks[1].finished_at is not None


@pytest.mark.requirement("R13.order", "R13.owner")
async def test_each_event_says_who_owned_the_run_and_is_numbered_over_all_owners(
    house: House,
) -> None:
    async with serving(house, report) as live:
        run = await live.run("report")
    async with serving(house, report) as live:
        await live.later(1)

    events = events_of(await runs.history(house.admin, SCHEMA, run), -1)

    assert [event.number for event in events] == list(range(len(events)))
    assert {event.node for event in events} == {"test"}
    epochs = [event.epoch for event in events]
    assert epochs == sorted(epochs)
    assert set(epochs) == {1, 2}
    rest = events_of(await runs.history(house.admin, SCHEMA, run), 2)
    assert [event.number for event in rest] == list(range(3, len(events)))


@pytest.mark.requirement("R7.key")
async def test_the_idempotency_key_is_the_same_in_every_attempt_and_no_other_has_it(
    house: House,
) -> None:
    keys: list[tuple[int, str]] = []

    @job("pay", retry=Retry(attempts=3, initial="1s", jitter=0))
    async def pay(ctx: Context) -> None:
        keys.append((ctx.attempt, ctx.idempotency_key))
        if ctx.attempt < 3:
            raise ConnectionError("again")

    async with serving(house, pay) as live:
        await live.run("pay")
        await live.later(1)
    async with serving(house, pay) as live:
        await live.later(2)
        first = list(keys)
        await live.run("pay")

    assert [attempt for attempt, _ in first] == [1, 2, 3]
    assert len({key for _, key in first}) == 1
    assert keys[-1][1] not in {key for _, key in first}


@pytest.mark.requirement("R15.tenant")
async def test_a_task_reads_its_tenants_settings_features_and_limits(house: House) -> None:
    @job("w")
    async def tells(ctx: Context) -> list[object]:
        tenant = ctx.tenant
        return [tenant.id, tenant.name, tenant.settings, tenant.features, tenant.limits]

    config = house.config(max_retries=2)
    config.settings["region"] = "eu"
    config.features["beta"] = True
    async with serving(house, tells, options=Options(config=config)) as live:
        run = await live.run("w")

    assert await house.output(run) == [
        "acme",
        "Acme",
        {"region": "eu"},
        {"beta": True},
        {"max_retries": 2},
    ]
