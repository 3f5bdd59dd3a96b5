"""`ctx.step`: called once, whatever happens to the process in between."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest

from orchestrator.engine import entries
from orchestrator.engine.control import Verb
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from orchestrator.workflow.retry import Retry
from tests.engine.durable.driving import control, reading
from tests.engine.live import House, Options, serving
from tests.support.wait import until

AT_ONCE = Retry(attempts=5, initial="1ms", jitter=0.0)


@pytest.mark.requirement("R6.step")
async def test_a_step_is_called_once_over_retries(house: House) -> None:
    calls: list[Any] = []
    failures = iter([True, True, False])

    @job("w", retry=AT_ONCE)
    async def flow(ctx: Context) -> list[Any]:
        first = await ctx.step("first", reading(calls), "a")
        if next(failures):
            raise ValueError("again")
        return [first, await ctx.step("second", reading(calls), "b")]

    async with serving(house, flow) as live:
        run = await live.run("w")
        while (await house.row(run)).state != "succeeded":
            await live.later(1)
    assert calls == ["a", "b"]
    assert await house.output(run) == [1, 2]


@pytest.mark.requirement("R6.step")
async def test_a_step_is_called_once_over_crashes(house: House) -> None:
    calls: list[Any] = []
    held = [True]

    @job("w")
    async def flow(ctx: Context) -> list[Any]:
        first = await ctx.step("first", reading(calls), "a")
        second = await ctx.step("second", reading(calls), "b")
        if held[0]:
            await anyio.sleep_forever()
        return [first, second]

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        await until(lambda: len(calls) == 2)
        await until(lambda: house.value("SELECT count(*) > 2 FROM tenant.wf_event"))
    held[0] = False
    async with serving(house, flow, options=Options(crashed=True)) as live:
        await live.quiet()
    assert calls == ["a", "b"]
    assert await house.output(run) == [1, 2]


async def test_a_step_that_was_under_way_at_a_crash_is_called_again(house: House) -> None:
    calls: list[Any] = []
    held = [True]

    @job("w")
    async def flow(ctx: Context) -> int:
        async def slow() -> int:
            calls.append("slow")
            if held[0]:
                await anyio.sleep_forever()
            return len(calls)

        return int(await ctx.step("slow", slow))

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        await until(lambda: calls)
    held[0] = False
    async with serving(house, flow) as live:
        await live.quiet()
    assert await house.output(run) == 2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["a", "b"], ["a", "c"]),
        (["a", "b"], ["b", "a"]),
        (["a", "b"], ["a"]),
        (["a"], ["x"]),
        (["a"], []),
    ],
    ids=["another name", "another order", "one less", "the only one renamed", "none"],
)
@pytest.mark.requirement("R6.divergence")
async def test_other_steps_than_the_journal_holds_block_the_run(
    house: House, before: list[str], after: list[str]
) -> None:
    calls: list[Any] = []
    names = [before]

    @job("w", retry=AT_ONCE)
    async def flow(ctx: Context) -> None:
        for name in names[0]:
            await ctx.step(name, reading(calls), name)
        if names[0] is before:
            names[0] = after
            raise ValueError("again")

    async with serving(house, flow) as live:
        run = await live.run("w")
        await live.later(1)
        stored = await house.row(run)
        assert stored.state == "blocked"
        assert "NonDeterminism" in (stored.error or "")
    assert calls == before, "nothing was run under the changed code"
    async with serving(house, flow) as live:
        await live.quiet()
        assert (await house.row(run)).state == "blocked", "it waits for somebody"
    assert calls == before


async def test_steps_that_come_after_those_of_the_journal_are_made(house: House) -> None:
    calls: list[Any] = []
    names = [["a"]]

    @job("w", retry=AT_ONCE)
    async def flow(ctx: Context) -> None:
        for name in names[0]:
            await ctx.step(name, reading(calls), name)
        if len(names[0]) == 1:
            names[0] = ["a", "b"]
            raise ValueError("again")

    async with serving(house, flow) as live:
        run = await live.run("w")
        await live.later(1)
    assert await house.output(run) is None
    assert calls == ["a", "b"]


async def test_concurrent_steps_are_remembered_each(house: House) -> None:
    calls: list[Any] = []
    failing = [True]

    @job("w", retry=AT_ONCE)
    async def flow(ctx: Context) -> list[Any]:
        found: list[Any] = [None, None, None]
        turns = [anyio.Event() for _ in range(4)]
        turns[3].set()

        async def step(mine: int) -> None:
            async def in_reverse() -> str:
                await turns[mine + 1].wait()
                turns[mine].set()
                calls.append(mine)
                return f"result {mine}"

            found[mine] = await ctx.step(f"step {mine}", in_reverse)

        async with anyio.create_task_group() as group:
            for mine in range(3):
                group.start_soon(step, mine)
        if failing[0]:
            failing[0] = False
            raise ValueError("again")
        return found

    async with serving(house, flow) as live:
        run = await live.run("w")
        await live.later(1)
    assert await house.output(run) == ["result 0", "result 1", "result 2"]
    assert calls == [2, 1, 0]


async def test_chains_of_steps_side_by_side_are_remembered_each(house: House) -> None:
    calls: list[Any] = []
    failing = [True]

    @job("w", retry=AT_ONCE)
    async def flow(ctx: Context) -> None:
        async def chain(name: str) -> None:
            for number in range(3):
                await ctx.step(f"{name}{number}", reading(calls), f"{name}{number}")

        async with anyio.create_task_group() as group:
            group.start_soon(chain, "a")
            group.start_soon(chain, "b")
        await ctx.step("last", reading(calls), "last")
        if failing[0]:
            failing[0] = False
            raise ValueError("again")

    async with serving(house, flow) as live:
        run = await live.run("w")
        await live.later(1)
        stored = await house.row(run)
    assert stored.state == "succeeded", stored.error
    assert sorted(calls) == ["a0", "a1", "a2", "b0", "b1", "b2", "last"]


async def test_concurrent_steps_of_other_names_block_the_run(house: House) -> None:
    calls: list[Any] = []
    names = [["a", "b"]]

    @job("w", retry=AT_ONCE)
    async def flow(ctx: Context) -> None:
        async with anyio.create_task_group() as group:
            for name in names[0]:
                group.start_soon(ctx.step, name, reading(calls), name)
        if "b" in names[0]:
            names[0] = ["a", "c"]
            raise ValueError("again")

    async with serving(house, flow) as live:
        run = await live.run("w")
        await live.later(1)
        stored = await house.row(run)
    assert stored.state == "blocked"
    assert "NonDeterminism" in (stored.error or "")
    assert sorted(calls) == ["a", "b"]


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2j}])
async def test_a_step_whose_result_has_no_json_form_fails_the_attempt(
    house: House, value: Any
) -> None:
    @job("w")
    async def flow(ctx: Context) -> None:
        await ctx.step("s", lambda: value)

    async with serving(house, flow) as live:
        run = await live.run("w")
    error = await house.error(run)
    assert error["type"] in ("TypeError", "ValueError")
    assert not [e for e in await house.journal(run) if isinstance(e, entries.StepDone)]


async def test_a_step_that_raises_is_not_remembered(house: House) -> None:
    calls: list[Any] = []

    @job("w", retry=AT_ONCE)
    async def flow(ctx: Context) -> Any:
        def unlucky() -> int:
            calls.append(1)
            if len(calls) == 1:
                raise ValueError("no")
            return 7

        return await ctx.step("s", unlucky)

    async with serving(house, flow) as live:
        run = await live.run("w")
        await live.later(1)
    assert await house.output(run) == 7


async def test_a_sync_step_runs_in_a_thread_and_an_async_one_on_the_loop(house: House) -> None:
    here = threading.get_ident()

    @job("w")
    async def flow(ctx: Context) -> list[bool]:
        async def on_loop() -> bool:
            return threading.get_ident() == here

        in_thread = await ctx.step("sync", lambda: threading.get_ident() == here)
        return [in_thread, await ctx.step("async", on_loop)]

    async with serving(house, flow) as live:
        run = await live.run("w")
    assert await house.output(run) == [False, True]


async def test_what_a_step_returned_is_the_same_live_and_remembered(house: House) -> None:
    failing = [True]
    seen: list[Any] = []

    @job("w", retry=AT_ONCE)
    async def flow(ctx: Context) -> None:
        seen.append(await ctx.step("s", lambda: {"pair": (1, 2)}))
        if failing[0]:
            failing[0] = False
            raise ValueError("again")

    async with serving(house, flow) as live:
        await live.run("w")
        await live.later(1)
    assert seen == [{"pair": [1, 2]}, {"pair": [1, 2]}]


async def test_steps_of_two_tasks_do_not_meet(house: House) -> None:
    flow = Workflow("w")
    calls: list[Any] = []

    def body(mine: str) -> Any:
        async def work(ctx: Context) -> Any:
            return await ctx.step("s", reading(calls), mine)

        return work

    flow.task(name="a")(body("a"))
    flow.task(name="b")(body("b"))
    async with serving(house, flow) as live:
        run = await live.run("w")
    assert sorted(calls) == ["a", "b"]
    assert sorted((await house.output(run)).values()) == [1, 2]


async def test_a_step_after_the_run_was_cancelled_leaves_nothing(house: House) -> None:
    calls: list[Any] = []

    @job("w")
    async def flow(ctx: Context) -> None:
        calls.append("in")
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    await ctx.step("late", reading(calls), "late")
                except Exception as error:
                    calls.append(type(error).__name__)
                    raise

    async with serving(house, flow) as live:
        run = (await live.submit("w")).id
        await until(lambda: calls)
        await control(live, run, Verb.CANCEL)
        await until(lambda: len(calls) > 1)
        await live.quiet()
    assert calls == ["in", "AttemptOver"]
    assert (await house.told(run))[-1] == "run.cancelled"
