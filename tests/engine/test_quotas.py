"""Limits that hold for the engine and for insula.submit together: whoever commits second counts."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
import asyncpg
import pytest

from orchestrator.engine.reply import Reply
from orchestrator.model.api import Started, StartRun
from orchestrator.model.errors import QuotaExceeded
from orchestrator.store.connect import Connection
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from tests.engine.live import House, Live, serving
from tests.store.submitting import limit, submit

RUNS = "SELECT count(*) FROM tenant.wf_run"


@job("echo")
async def echo(ctx: Context) -> None:
    """Do nothing."""


async def accepted(live: Live, many: int) -> int:
    """Submit `many` runs to the engine in one go, each by itself, and return how many passed."""
    replies: list[Reply[list[Started]]] = [Reply() for _ in range(many)]
    for reply in replies:
        live.engine.submit([StartRun(workflow="echo")], reply)
    passed = 0
    for reply in replies:
        with suppress(QuotaExceeded), anyio.fail_after(30):
            await reply.wait()
            passed += 1
    return passed


@pytest.mark.parametrize("name", ["max_runs_per_hour", "max_runs_per_day", "rate"])
@pytest.mark.requirement("quota.max_runs_per_hour", "quota.max_runs_per_day", "quota.rate")
async def test_of_runs_from_sql_and_over_the_daemon_exactly_as_many_pass_as_are_allowed(
    house: House, name: str
) -> None:
    limits: dict[str, Any] = {name: 20}
    await limit(house.database, **limits)
    connections = [await house.database.connect() for _ in range(5)]
    passed = 0

    async def from_sql(connection: Connection) -> None:
        nonlocal passed
        for _ in range(5):
            with suppress(asyncpg.PostgresError):
                await submit(connection, "acme", "echo")
                passed += 1

    async def over_the_daemon(live: Live) -> None:
        nonlocal passed
        for _ in range(5):
            here = await accepted(live, 5)
            passed += here

    async with serving(house, echo, **limits) as live, anyio.create_task_group() as group:
        for connection in connections:
            group.start_soon(from_sql, connection)
        group.start_soon(over_the_daemon, live)

    assert passed == await house.value(RUNS) == 20


async def test_what_the_database_has_refused_is_refused_without_it_until_that_is_over(
    house: House,
) -> None:
    await limit(house.database, max_runs_per_hour=3)
    async with serving(house, echo, max_runs_per_hour=3) as live:
        for _ in range(3):
            await submit(house.admin, "acme", "echo")
        for _ in range(2):
            before = live.flushes
            with pytest.raises(QuotaExceeded, match="max_runs_per_hour = 3") as caught:
                await live.submit("echo")
            assert 3590 <= caught.value.data["retry_after"] <= 3600
            assert live.flushes == before
        await live.later(3601)
        await live.submit("echo")


async def test_runs_of_one_request_pass_together_or_not_at_all_beside_sql(house: House) -> None:
    await limit(house.database, max_runs_per_hour=10)
    async with serving(house, echo, max_runs_per_hour=10) as live:
        for _ in range(5):
            await submit(house.admin, "acme", "echo")
        with pytest.raises(QuotaExceeded, match="max_runs_per_hour = 10"):
            await live.submit_all([StartRun(workflow="echo")] * 8)
    assert await house.value(RUNS) == 5


async def test_what_sql_leaves_waiting_counts_in_the_queue_of_the_daemon(house: House) -> None:
    await limit(house.database, max_queue_length=3)
    async with serving(house, echo, max_queue_length=3) as live:
        for _ in range(4):
            await house.value(
                "INSERT INTO tenant.wf_run (id, workflow, version, state, queue, priority, epoch,"
                " input) VALUES (gen_random_uuid(), 'echo', '', 'queued', 'q', 0, 0, '{}')"
            )
        with pytest.raises(QuotaExceeded, match="may have 3 runs waiting"):
            await live.submit("echo")
        live.engine.poke()
        await live.quiet()
        await live.submit("echo")


async def test_children_that_what_came_from_sql_leaves_no_place_for_are_refused_after_the_first(
    house: House,
) -> None:
    @job("parent")
    async def parent(ctx: Context) -> str:
        for key in ("first", "second"):
            await submit(house.admin, "acme", "other", key=key)
        await ctx.wait(await ctx.start_child("echo"))  # promised before anybody has counted
        with pytest.raises(QuotaExceeded):
            await ctx.start_child("echo")
        return "refused"

    await limit(house.database, max_runs_per_hour=3)
    async with serving(house, parent, echo, max_runs_per_hour=3) as live:
        run = await live.run("parent")

    assert await house.output(run) == "refused"
    assert await house.value(RUNS) == 4


async def test_a_transaction_that_counts_early_and_stays_open_stops_new_runs_and_nothing_else(
    house: House,
) -> None:
    gate = anyio.Event()

    @job("held")
    async def held(ctx: Context) -> None:
        await gate.wait()

    await limit(house.database, max_queue_length=5)
    admin = await house.database.connect()
    async with serving(house, echo, held, max_queue_length=5) as live:
        under_way = await live.submit("held")
        early = admin.transaction()
        await early.start()
        await admin.execute("SET CONSTRAINTS ALL IMMEDIATE")
        await submit(admin, "acme", "echo")
        for _ in range(2):
            with pytest.raises(QuotaExceeded, match="a transaction that does not end"):
                await live.submit("echo")

        gate.set()
        await live.quiet()
        assert (await house.row(under_way.id)).state == "succeeded"

        await early.commit()
        await live.later(6)
        await live.submit("echo")


async def test_runs_without_counting_limits_are_counted_by_nobody(house: House) -> None:
    async with serving(house, echo, max_payload_bytes=100) as live:
        await live.submit("echo")

    untouched = "SELECT count(*) FROM tenant.wf_quota WHERE hour_allowed IS NULL AND xmax = 0"
    assert await house.value(untouched) == 1
