"""What a tenant uses is counted once, in the commit of what it counts."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from orchestrator.engine.control import Verb
from orchestrator.engine.reply import Reply
from orchestrator.model.states import RunState
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from orchestrator.workflow.retry import Retry
from tests.engine.live import House, serving

TIME = "SELECT sum(task_ms) FROM tenant.wf_usage"


@job("quick")
async def quick(ctx: Context) -> int:
    """Return at once."""
    return 1


@job("flaky", retry=Retry(attempts=2, initial="1s", jitter=0))
async def flaky(ctx: Context) -> None:
    """Fail each time."""
    raise RuntimeError("no")


@job("patient")
async def patient(ctx: Context) -> Any:
    """Rest, so that the first attempt gives its slot back."""
    await ctx.sleep("1h")
    return ctx.attempt


@job("pays", transactional=True)
async def pays(ctx: Context) -> None:
    """Commit together with the completion."""
    await ctx.db.execute("SELECT 1")


@pytest.mark.requirement("T9.usage")
async def test_runs_count_as_they_end_and_attempts_as_they_are_made(house: House) -> None:
    async with serving(house, quick, flaky) as live:
        await live.run("quick")
        await live.run("flaky")
        await live.later(2)

    assert await house.used() == {"submitted": 2, "succeeded": 1, "failed": 1, "attempts": 3}
    assert await house.value(TIME) >= 3  # each takes a millisecond at least


async def test_an_attempt_that_rests_has_ended_and_the_next_one_counts_anew(house: House) -> None:
    async with serving(house, patient) as live:
        await live.run("patient")
        await live.later(3601)

    assert await house.used() == {"submitted": 1, "succeeded": 1, "attempts": 2}


async def test_what_the_end_of_its_run_cuts_off_counts_until_then(house: House) -> None:
    begun = anyio.Event()

    @job("deaf")
    async def deaf(ctx: Context) -> None:
        begun.set()
        await anyio.sleep_forever()

    async with serving(house, deaf) as live:
        started = await live.submit("deaf")
        await begun.wait()
        reply: Reply[RunState] = Reply()
        live.engine.control(started.id, Verb.CANCEL, "", reply)
        assert await reply.wait() is RunState.CANCELLED

    assert await house.used() == {"submitted": 1, "cancelled": 1, "attempts": 1}


async def test_a_transactional_attempt_counts_in_its_own_commit(house: House) -> None:
    async with serving(house, pays) as live:
        run = await live.run("pays")

    assert await house.used() == {"submitted": 1, "succeeded": 1, "attempts": 1}
    committed = "SELECT xmin FROM tenant.wf_event WHERE run_id = $1 AND seq = 2"
    assert await house.value("SELECT xmin FROM tenant.wf_usage WHERE attempts = 1") == (
        await house.value(committed, run)
    )


async def test_a_known_key_and_a_refused_run_count_nothing(house: House) -> None:
    async with serving(house, quick) as live:
        await live.submit("quick", key="k")
        await live.submit("quick", key="k")
        await live.quiet()

    assert await house.used() == {"submitted": 1, "succeeded": 1, "attempts": 1}
