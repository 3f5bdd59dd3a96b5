"""The cache of a tenant for an application: the one that its tasks have."""

from __future__ import annotations

from contextlib import suppress

import pytest

from orchestrator.cache.tenant_cache import Bounds, TenantCache
from orchestrator.lifecycle.provision import rotate
from orchestrator.model.errors import CacheUnavailable, DatabaseUnavailable
from orchestrator.model.ids import TenantId
from orchestrator.store.tenant.cache import SETTINGS, CacheConnection, PostgresStore
from orchestrator.store.tenant.login import Login, Way
from orchestrator.workflow.cache import NotANumber
from tests.support.application import opened
from tests.support.database import Database

CONNECTIONS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'shop'"


@pytest.fixture
async def made(database: Database) -> Database:
    """Return a database with two tenants."""
    for tenant in ("acme", "globex"):
        await database.provision(tenant)
    return database


async def test_what_a_task_has_stored_is_there(made: Database) -> None:
    login = Login(Way(made.as_app("acme")), application_name="task", settings=SETTINGS)
    task = CacheConnection(login)
    await TenantCache(PostgresStore(task.run, "tenant_acme"), Bounds).set("rate", 1.25)
    await task.close()

    async with opened(made, size=1) as (sql, _):
        assert await sql.tenant("acme").cache.get("rate") == 1.25
        assert await sql.tenant("globex").cache.get("rate") is None


async def test_a_call_within_blocks_that_hold_all_connections_does_not_wait_for_them(
    made: Database,
) -> None:
    async with opened(made, size=1, cache_size=1) as (sql, daemon):
        tenant = sql.tenant("acme")
        async with tenant.transaction() as tx:
            assert await tenant.cache.increment("visits") == 1
            assert await sql.tenant("globex").cache.get("visits") is None
            assert await tenant.cache.increment("visits") == 2
            await tx.execute("SELECT 1")
        admin = await made.connect()
        assert len(await admin.fetch(CONNECTIONS)) <= 2

    assert daemon.asked == 2
    assert not await admin.fetch(f"{CONNECTIONS} AND state = 'active'")


async def test_calls_one_after_the_other_have_one_connection_and_look_for_nothing_anew(
    made: Database,
) -> None:
    admin = await made.connect()
    async with opened(made, size=1) as (sql, _):
        cache = sql.tenant("acme").cache
        await cache.set("a", 1)
        before = await admin.fetch(CONNECTIONS)
        for number in range(5):
            await cache.set("a", number)
        assert [tuple(each) for each in await admin.fetch(CONNECTIONS)] == [
            tuple(each) for each in before
        ]


async def test_as_much_is_kept_as_the_limits_of_the_tenant_say(made: Database) -> None:
    async with opened(made, size=1) as (sql, daemon):
        daemon.bounds = Bounds(entries=2)
        for number in range(4):
            await sql.tenant("acme").cache.set(f"k{number}", number)

        assert await sql.tenant("acme").cache.keys() == ["k2", "k3"]
        assert (await sql.tenant("acme").cache.stats()).entries == 2


async def test_a_call_that_failed_leaves_nothing_to_the_next(made: Database) -> None:
    async with opened(made, size=1, cache_size=1) as (sql, _):
        cache, admin = sql.tenant("acme").cache, await made.connect()
        await cache.set("name", "acme")
        with pytest.raises(NotANumber):
            await cache.increment("name")
        assert await cache.get("name") == "acme"

        await admin.execute(f"SELECT pg_terminate_backend(pid) FROM ({CONNECTIONS}) AS open")
        with suppress(DatabaseUnavailable):  # unless the driver has heard of it already
            await cache.get("name")
        assert await cache.get("name") == "acme"


async def test_a_password_that_was_rotated_is_asked_for_again(made: Database) -> None:
    async with opened(made, size=1, cache_size=1) as (sql, daemon):
        await sql.tenant("acme").cache.set("a", 1)
        await sql.tenant("globex").cache.set("a", 2)  # the connection of acme is closed for it
        await rotate(await made.connect(), TenantId("acme"), made.spec())

        assert await sql.tenant("acme").cache.get("a") == 1
    assert daemon.asked == 3


async def test_a_cache_that_a_server_of_its_own_keeps_is_refused(made: Database) -> None:
    async with opened(made, size=1) as (sql, daemon):
        daemon.caches_apart = True
        with pytest.raises(CacheUnavailable, match="a server of its own"):
            await sql.tenant("acme").cache.get("a")
