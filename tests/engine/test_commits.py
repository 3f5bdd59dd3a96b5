"""What work costs the server: commits, counted by PostgreSQL, whoever of the engine sent them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from orchestrator import Context, job
from orchestrator.engine.reply import Reply
from orchestrator.model.api import StartRun
from orchestrator.store.connect import Connection
from tests.engine.live import House, Live, serving
from tests.support.wait import until

RUNS = 1000
LOGINS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = $1 AND backend_type = 'client backend' AND usename <> current_user
"""
COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = $1"


@job("nothing")
async def nothing(ctx: Context) -> None:
    """Do nothing."""


@job("steps")
async def steps(ctx: Context) -> int:
    """Map a durable step over items."""
    return len(await ctx.map(same, range(RUNS), concurrency=500))


async def same(item: int) -> int:
    """Return the item."""
    return item


async def submitted(live: Live) -> None:
    """Run what is submitted now."""
    await live.submit_all([StartRun(workflow="nothing")] * RUNS)


async def queued(live: Live) -> None:
    """Submit while nothing may start, then let it."""
    for paused in (True, False):
        reply: Reply[None] = Reply()
        live.engine.set_pause("", reply, paused=paused)
        await reply.wait()
        if paused:
            await live.submit_all([StartRun(workflow="nothing")] * RUNS)


async def mapped(live: Live) -> None:
    """Run one task of many steps."""
    await live.submit("steps")


@pytest.mark.parametrize(
    ("work", "most"),
    [(submitted, 50), (queued, 60), (mapped, 25)],
    ids=["runs that are submitted", "runs that waited", "steps of one task"],
)
async def test_a_thousand_cost_the_server_a_few_commits(
    house: House, work: Callable[[Live], Awaitable[None]], most: int
) -> None:
    # One in 20 runs or less, as 64 have slots at a time; ten are the engine's start. What is asked
    # here is not counted, for it is in another database.
    other = await house.database.connect(house.database.target.with_database("postgres"))
    before = await committed(other, house)

    async with serving(house, nothing, steps) as live:
        await work(live)
        await live.quiet()

    spent = await committed(other, house) - before
    assert spent <= most


async def committed(other: Connection, house: House) -> int:
    """Return the count once all logins have gone: a backend tells the last of it when it ends."""
    name = house.database.target.database

    async def gone() -> bool:
        return not await other.fetchval(LOGINS, name)

    await until(gone)
    await other.execute("SELECT pg_stat_clear_snapshot()")
    count: int = await other.fetchval(COMMITS, name)
    return count
