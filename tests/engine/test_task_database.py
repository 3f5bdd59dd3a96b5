"""What a task leaves open in the database, and what a task of a former owner writes, lands not."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import anyio
import pytest

from orchestrator.model.errors import LeaseLost
from orchestrator.store.tenant.places import APP_CONNECTIONS
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from orchestrator.workflow.durable import AttemptOver
from tests.engine.live import SCHEMA, House, Options, serving
from tests.support.wait import until

HELD = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 77)"


async def hold(db: Any) -> None:
    async with db.transaction() as tx:
        await tx.execute("SELECT pg_advisory_xact_lock(77)")
        await tx.execute("SELECT pg_sleep(60)")


async def test_a_coroutine_that_outlives_its_attempt_is_cut_off_from_the_database(
    house: House,
) -> None:
    left: list[asyncio.Task[None]] = []

    @job("w")
    async def forgets(ctx: Context) -> None:
        left.append(asyncio.create_task(hold(ctx.db)))
        await until(lambda: house.value(HELD))

    async with serving(house, forgets) as live:
        run = await live.run("w")
        with pytest.raises(AttemptOver):
            await left[0]
        await until(lambda: house.value(f"SELECT NOT ({HELD})"))
    assert (await house.error(run))["type"] == "TransactionLeftOpen"


async def test_a_transaction_that_is_never_left_fails_its_attempt(house: House) -> None:
    @job("w")
    async def leaks(ctx: Context) -> None:
        await ctx.db.transaction().__aenter__()

    async with serving(house, leaks) as live:
        run = await live.run("w")
    assert (await house.error(run))["type"] == "TransactionLeftOpen"


async def test_more_attempts_than_connections_all_succeed(house: House) -> None:
    @job("w")
    async def asks(ctx: Context) -> Any:
        async with ctx.db.transaction():
            return await ctx.db.fetchval("SELECT 1")

    async with serving(house, asks) as live:
        runs = [(await live.submit("w")).id for _ in range(2 * APP_CONNECTIONS)]
        await live.quiet()
    assert [await house.output(run) for run in runs] == [1] * len(runs)


async def test_a_full_server_costs_no_attempt_but_time(house: House) -> None:
    role = house.database.logins("acme").app

    @job("w")
    async def asks(ctx: Context) -> Any:
        return await ctx.db.fetchval("SELECT 1")

    await house.admin.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
    async with serving(house, asks) as live:
        run = (await live.submit("w")).id
        await until(lambda: house.value(f"SELECT count(*) = 1 FROM {SCHEMA}.wf_event"))
        await house.admin.execute(f"ALTER ROLE {role} CONNECTION LIMIT 16")
        await live.quiet()
    assert await house.output(run) == 1


async def test_the_wait_for_the_database_ends_with_the_attempt(house: House) -> None:
    role = house.database.logins("acme").app

    @job("w", timeout="100ms")
    async def asks(ctx: Context) -> Any:
        return await ctx.db.fetchval("SELECT 1")

    await house.admin.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
    async with serving(house, asks, options=Options()) as live:
        run = await live.run("w")
    assert (await house.error(run))["type"] == "AttemptTimeout"


async def test_a_task_of_a_former_owner_settles_nothing_and_stops_its_engine(house: House) -> None:
    swallowed: list[LeaseLost] = []
    started: list[UUID] = []

    @job("w")
    async def zombie(ctx: Context) -> None:
        await house.admin.execute(f"UPDATE {SCHEMA}.wf_fence SET epoch = 99")
        try:
            await ctx.db.execute("SELECT 1")
        except LeaseLost as error:
            swallowed.append(error)

    async def serve() -> None:
        async with serving(house, zombie) as live:
            started.append((await live.submit("w")).id)
            await anyio.sleep_forever()

    with pytest.RaisesGroup(LeaseLost, flatten_subgroups=True, allow_unwrapped=True):
        await serve()
    assert len(swallowed) == 1
    assert await house.told(started[0]) == ["run.started", "task.started zombie"]
