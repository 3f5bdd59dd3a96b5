"""Calls of the context that make no sense fail their attempt, and the message says what to do."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from orchestrator.engine import entries
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from tests.engine.live import House, serving


async def leave(item: int) -> int:
    """End the program, as an item of a map."""
    sys.exit(item)


async def give_up(item: int) -> int:
    """Cancel itself, as an item of a map."""
    raise asyncio.CancelledError


async def leave_beside_another(ctx: Context) -> None:
    """End the program in a step, while another one is under way."""
    async with anyio.create_task_group() as group:
        group.start_soon(ctx.step, "stay", anyio.sleep, 60)
        group.start_soon(ctx.step, "leave", sys.exit, 3)


CALLS: dict[str, tuple[Callable[[Any], Awaitable[Any]], str]] = {
    "sleep_text": (lambda ctx: ctx.sleep("later"), "ValueError: 'later' is not a duration"),
    "sleep_none": (lambda ctx: ctx.sleep(None), "ValueError: None is no span of time"),
    "sleep_nan": (lambda ctx: ctx.sleep(math.nan), "ValueError: nan is no span of time"),
    "sleep_endless": (lambda ctx: ctx.sleep(1e300), "ValueError: 1e+300 is no span of time"),
    "step_name": (lambda ctx: ctx.step(5, str), "ValueError: step 5: its name is no text"),
    "step_result": (lambda ctx: ctx.step("s", object), "TypeError: the result has no JSON form"),
    "step_exit": (lambda ctx: ctx.step("s", sys.exit, 3), "TaskExited: the task ended the program"),
    "steps_exit": (leave_beside_another, "ExceptionGroup: "),
    "map_exit": (lambda ctx: ctx.map(leave, [1, 2]), "TaskExited: the task ended the program: Sys"),
    "map_cancel": (lambda ctx: ctx.map(give_up, [7]), "TaskExited: map 'give_up': item 0 was canc"),
    "map_none": (lambda ctx: ctx.map(str, [1], concurrency=0), "ValueError: the concurrency of a "),
    "map_text": (lambda ctx: ctx.map(str, [1], concurrency="9"), "ValueError: the concurrency of"),
    "child_close": (
        lambda ctx: ctx.start_child("fine", on_close="explode"),
        "ValueError: on_close is one of cancel, abandon; got 'explode'",
    ),
    "child_input": (
        lambda ctx: ctx.start_child("fine", ["x"]),
        "TypeError: the input of a child is a mapping; got ['x']",
    ),
    "wait_id": (
        lambda ctx: ctx.wait(ctx.run_id),
        "TypeError: ctx.wait takes what ctx.start_child returned; got UUID",
    ),
    "output_name": (
        lambda ctx: ctx.output("sleep_text"),
        "TypeError: ctx.output takes a task, as it was declared; got 'sleep_text'",
    ),
    "key": (lambda ctx: ctx.set(5, 1), "TypeError: a key of the context is a text; got 5"),
}


@pytest.mark.requirement("R12.tenant")
async def test_a_call_that_makes_no_sense_fails_its_attempt_and_says_why(house: House) -> None:
    flow = Workflow("w")

    def calling(call: Callable[[Any], Awaitable[Any]]) -> Callable[[Context], Awaitable[None]]:
        async def body(ctx: Context) -> None:
            await call(ctx)

        return body

    for name, (call, _) in CALLS.items():
        flow.task(name=name)(calling(call))

    @job("fine")
    async def fine(ctx: Context) -> str:
        return "still here"

    async with serving(house, flow, fine) as live:
        run = await live.run("w")
        after = await live.run("fine")
    assert await house.output(after) == "still here"
    journal = [e for e in await house.journal(run) if isinstance(e, entries.TaskFailed)]
    told = {e.task: f"{e.error.type}: {e.error.message}" for e in journal}
    wrong = {name: told[name] for name, (_, say) in CALLS.items() if not told[name].startswith(say)}
    assert not wrong


CALLS_ON_A_LOOP_OF_ITS_OWN: dict[str, Callable[[Context], Any]] = {
    "step": lambda ctx: asyncio.run(ctx.step("s", int)),
    "sleep": lambda ctx: asyncio.run(ctx.sleep(0)),
    "db": lambda ctx: asyncio.run(ctx.db.fetchval("SELECT 1")),
}


async def test_a_sync_task_that_starts_a_loop_for_a_call_fails_and_is_told_how(
    house: House,
) -> None:
    flow = Workflow("w")
    for name, call in CALLS_ON_A_LOOP_OF_ITS_OWN.items():
        flow.task(name=name)(call)

    async with serving(house, flow) as live:
        run = await live.run("w")
    failed = [e for e in await house.journal(run) if isinstance(e, entries.TaskFailed)]
    assert {e.task for e in failed} == CALLS_ON_A_LOOP_OF_ITS_OWN.keys()
    assert {e.error.type for e in failed} == {"OtherLoop"}
    assert all("anyio.from_thread.run(ctx." in e.error.message for e in failed)
