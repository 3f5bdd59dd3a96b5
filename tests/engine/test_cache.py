"""`ctx.cache` of tasks: the tenant's own, on a connection of its own, swept by its supervisor."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio.from_thread
import pytest

from orchestrator.engine import retention
from orchestrator.engine.outcome import Failed
from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.processes.wire import ProcessCall
from orchestrator.model.errors import DatabaseUnavailable
from orchestrator.workflow.cache import NoCache
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from orchestrator.workflow.durable import OtherLoop
from orchestrator.workflow.secret import GivenSecrets
from orchestrator.workflow.testing import run_sync
from tests.engine import process_tasks as tasks
from tests.engine.live import House, serving
from tests.support.wait import until


async def test_what_one_task_keeps_another_run_finds(house: House) -> None:
    @job("w")
    async def counts(ctx: Context) -> int:
        return await ctx.cache.namespace("seen").increment("runs", ttl="1h")

    async with serving(house, counts) as live:
        runs = [await live.run("w") for _ in range(2)]

    assert [await house.output(run) for run in runs] == [1, 2]


async def test_a_sync_task_reaches_it_from_its_thread(house: House) -> None:
    @job("w")
    def asks(ctx: Context) -> Any:
        anyio.from_thread.run(ctx.cache.set, "key", [1])
        return anyio.from_thread.run(ctx.cache.get, "key")

    async with serving(house, asks) as live:
        run = await live.run("w")

    assert await house.output(run) == [1]


async def test_a_lost_connection_is_opened_again_by_the_next_call(house: House) -> None:
    end = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename LIKE '%_a_acme'"
    )

    @job("w")
    async def asks(ctx: Context) -> Any:
        await ctx.cache.set("key", 1)
        await house.admin.execute(end)
        with suppress(DatabaseUnavailable):  # it may not have been noticed yet
            await ctx.cache.get("key")
        return await ctx.cache.get("key")

    async with serving(house, asks) as live:
        run = await live.run("w")

    assert await house.output(run) == 1


async def test_after_the_attempt_and_in_a_worker_process_there_is_none(house: House) -> None:
    left: list[Context] = []

    @job("w")
    async def leaves(ctx: Context) -> None:
        left.append(ctx)

    async with serving(house, leaves) as live:
        await live.run("w")
    with pytest.raises(NoCache):
        _ = left[0].cache

    async with ProcessPool(size=1, memory_bytes=None) as pool:
        call = ProcessCall(input=tasks.NO_INPUT)
        outcome = await pool.run(tasks.use_cache, call, GivenSecrets("acme", {}).read)
    assert isinstance(outcome, Failed)
    assert "runs in a worker process, which has no cache" in outcome.error.message


async def test_another_event_loop_is_refused(house: House) -> None:
    @job("w")
    def confused(ctx: Context) -> None:
        with pytest.raises(OtherLoop):
            anyio.run(ctx.cache.get, "key")

    async with serving(house, confused) as live:
        run = await live.run("w")

    assert await house.output(run) is None


async def test_the_supervisor_sweeps_what_is_over_in_batches(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(retention, "BATCH", 2)
    await house.admin.execute(
        "INSERT INTO tenant_acme.wf_cache (space, key, value, expires_at) "
        "SELECT '', n::text, '1', CASE WHEN n > 1 THEN now() END FROM generate_series(1, 6) AS n"
    )

    async with serving(house):
        await until(lambda: house.value("SELECT count(*) = 1 FROM tenant.wf_cache"))

    assert await house.value("SELECT key FROM tenant.wf_cache") == "1"


def test_a_test_gets_one_by_the_moved_clock() -> None:
    @job("w")
    async def waits(ctx: Context) -> Any:
        if await ctx.cache.set_if_absent("first", 1, ttl="1h"):
            await ctx.sleep("2h")
        return await ctx.cache.get("first")

    done = run_sync(waits)

    assert (done.state, done.output) == ("succeeded", 1)
