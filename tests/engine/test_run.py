"""How a run goes: branches side by side, what tasks see of each other, and when they start."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from orchestrator.workflow.rules import If, When
from tests.engine.live import House, serving


@pytest.mark.requirement("R2.parallel")
async def test_branches_of_a_dag_run_side_by_side(house: House) -> None:
    flow = Workflow("w")
    met = [anyio.Event(), anyio.Event()]

    @flow.task()
    async def load(ctx: Context) -> int:
        return 1

    def branch(mine: int) -> Any:
        async def meet(ctx: Context) -> int:
            met[mine].set()
            await met[1 - mine].wait()
            return mine + ctx.output(load)

        return meet

    left = flow.task(name="left", after=[load])(branch(0))
    right = flow.task(name="right", after=[load])(branch(1))

    @flow.task(after=[left, right])
    async def total(ctx: Context) -> int:
        return int(ctx.output(left)) * 10 + int(ctx.output(right))

    async with serving(house, flow) as live:
        run = await live.run("w")
    assert await house.output(run) == 12


@pytest.mark.requirement("R2.thread")
async def test_sync_tasks_run_side_by_side_in_threads(house: House) -> None:
    flow = Workflow("w")
    barrier = threading.Barrier(2, timeout=10)

    def meet(ctx: Context) -> bool:
        barrier.wait()
        return threading.current_thread() is not threading.main_thread()

    flow.task(name="a")(meet)
    flow.task(name="b")(meet)
    async with serving(house, flow) as live:
        run = await live.run("w")
    assert await house.output(run) == {"a": True, "b": True}


@pytest.mark.requirement("R1.merge")
async def test_siblings_do_not_see_each_other_and_the_merge_is_topological(house: House) -> None:
    flow = Workflow("w")
    seen: dict[str, Any] = {}

    @flow.task()
    async def first(ctx: Context, x: str) -> None:
        ctx.set("x", "first")
        ctx.set("list", [1])

    @flow.task(after=[first])
    async def left(ctx: Context) -> None:
        ctx.get("list").append(2)
        ctx.set("x", "left")
        ctx.set("left", 1)

    @flow.task(after=[first])
    async def right(ctx: Context) -> None:
        seen["right"] = (ctx.get("x"), ctx.get("left"), ctx.get("list"), ctx.input)
        ctx.set("x", "right")

    @flow.task(after=[right, left])
    async def last(ctx: Context) -> None:
        seen["last"] = (ctx.get("x"), ctx.get("left"), ctx.get("list"))
        with pytest.raises(KeyError, match="does not come after"):
            ctx.output(last)

    async with serving(house, flow) as live:
        run = await live.run("w", x="given")
    assert seen["right"] == ("first", None, [1], {"x": "given"})
    assert seen["last"] == ("right", 1, [1])
    assert (await house.row(run)).context == '{"x":"right","list":[1],"left":1}'


@pytest.mark.requirement("R1.rules", "R1.skip")
async def test_a_failed_branch_skips_what_needs_it_and_the_rest_goes_on(house: House) -> None:
    flow = Workflow("w")
    done: list[str] = []

    def note(name: str, **options: Any) -> None:
        async def body(ctx: Context) -> None:
            if name == "bad":
                raise ValueError("no")
            done.append(name)

        flow.task(name=name, **options)(body)

    note("bad")
    note("good")
    note("needs_bad", after=["bad"])
    note("after_it", after=["needs_bad", "good"])
    note("cleanup", after=["after_it", "bad"], when=When.ALL_DONE)
    note("alarm", after=["bad"], when=When.ANY_FAILED)
    async with serving(house, flow) as live:
        run = await live.run("w")
    assert sorted(done) == ["alarm", "cleanup", "good"]
    assert (await house.error(run))["message"] == "no"
    told = await house.told(run)
    assert {"task.skipped needs_bad", "task.skipped after_it"} <= set(told)
    assert told[-1] == "run.failed"


@pytest.mark.requirement("R3.durable")
async def test_a_dependent_starts_only_when_the_completion_is_durable(house: House) -> None:
    flow = Workflow("w")
    seen: list[list[str]] = []

    @flow.task()
    async def first(ctx: Context) -> int:
        seen.append(await house.told(ctx.run_id))
        return 1

    @flow.task(after=[first])
    async def second(ctx: Context) -> None:
        seen.append(await house.told(ctx.run_id))

    async with serving(house, flow) as live:
        await live.run("w")
    before = ["run.started", "task.started first"]
    assert seen == [before, [*before, "task.succeeded first", "task.started second"]]


async def test_a_submit_is_answered_when_the_run_is_durable(house: House) -> None:
    @job("hold")
    async def hold(ctx: Context) -> None:
        await anyio.sleep_forever()

    async with serving(house, hold) as live:
        started = await live.submit("hold")
        assert (await house.row(started.id)).state == "running"
        assert await house.told(started.id) == ["run.started", "task.started hold"]


@pytest.mark.requirement("R1.condition")
async def test_a_condition_on_the_context_decides_whether_a_task_starts(house: House) -> None:
    flow = Workflow("w")

    @flow.task()
    async def count(ctx: Context, rows: int) -> None:
        ctx.set("counted", rows)

    @flow.task(after=[count], when=If(lambda values: values["counted"] > 2))
    async def many(ctx: Context) -> str:
        return "many"

    @flow.task(after=[count], when=If(lambda values: values["counted"] <= values["rows"] - 1))
    async def fewer(ctx: Context) -> str:
        return "fewer"

    @flow.task(after=[many], when=If(lambda values: "x" not in values, When.ALL_DONE))
    async def after(ctx: Context) -> str:
        return "after"

    async with serving(house, flow) as live:
        runs = {rows: await live.run("w", rows=rows) for rows in (2, 3)}
    assert [e for e in await house.told(runs[2]) if e.startswith("task.s")] == [
        "task.started count",
        "task.succeeded count",
        "task.skipped many",
        "task.skipped fewer",
        "task.started after",
        "task.succeeded after",
    ]
    assert "task.succeeded many" in await house.told(runs[3])


async def test_a_condition_that_raises_fails_its_task_alone(house: House) -> None:
    flow = Workflow("w")

    @flow.task()
    async def first(ctx: Context) -> None: ...

    def leave(values: Mapping[str, Any]) -> bool:
        raise SystemExit(3)

    @flow.task(after=[first], when=If(lambda values: values["gone"]))
    async def never(ctx: Context) -> None: ...

    @flow.task(after=[first], when=If(leave))
    async def exits(ctx: Context) -> None: ...

    @flow.task(after=[never], when=When.ANY_FAILED)
    async def mends(ctx: Context) -> str:
        return "mended"

    async with serving(house, flow) as live:
        run = await live.run("w")
        error = await house.error(run)
        assert (error["type"], error["task"]) == ("KeyError", "never")
        assert error["message"] == "the condition of the task can not be told: 'gone'"
    told = await house.told(run)
    assert {"task.failed never", "task.failed exits", "task.succeeded mends"} <= set(told)
    assert "task.started never" not in told
