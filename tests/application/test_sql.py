"""SQL of applications outside runs: each tenant's own login, and nothing left for the next."""

from __future__ import annotations

import random
from pathlib import Path

import anyio
import asyncpg
import pytest

from orchestrator.application import TenantTables
from orchestrator.lifecycle.provision import rotate
from orchestrator.model.ids import TenantId
from orchestrator.store.migrate import read_migrations
from tests.support.application import opened
from tests.support.database import Database, migrations

FLIGHT = "CREATE TABLE flight (carrier text NOT NULL);"
NAMES = ["t0", "t1"]
MORE = [f"t{number}" for number in range(2, 32)]

# What a block may leave in its session.
REMAINS = """
    SET search_path = pg_catalog; SET statement_timeout = 54321; SET SESSION my.setting = 'mine';
    SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY;
    CREATE TEMP TABLE flight (carrier text); LISTEN gossip;
    PREPARE mine AS SELECT 1; SELECT pg_advisory_lock(77);
    DECLARE mine CURSOR WITH HOLD FOR SELECT 1;
"""
SEEN = """
    SELECT current_user::text AS role, session_user::text AS session,
        current_setting('search_path') AS path, current_setting('statement_timeout') AS timeout,
        coalesce(current_setting('my.setting', true), '') AS setting,
        current_setting('transaction_read_only') AS read_only,
        (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()) AS temporary,
        (SELECT count(*) FROM pg_listening_channels()) AS listens,
        (SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine') AS prepared,
        (SELECT count(*) FROM pg_cursors WHERE name = 'mine') AS cursors,
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
            AS locks
"""


@pytest.fixture
async def made(database: Database, tmp_path: Path) -> Database:
    """Return a database with a few tenants, each with a table that names it."""
    await make(database, NAMES, tmp_path)
    return database


async def make(database: Database, names: list[str], directory: Path) -> None:
    """Provision tenants."""
    admin = await database.connect()
    for name in names:
        await database.provision(name, migrations(directory / name, create_flight=FLIGHT))
        await admin.execute(f"INSERT INTO tenant_{name}.flight VALUES ('{name}')")


@pytest.mark.parametrize("more", [[], pytest.param(MORE, marks=pytest.mark.slow)], ids=len)
@pytest.mark.requirement("T13.login")
async def test_nothing_of_one_block_is_seen_by_any_other(
    made: Database, tmp_path: Path, more: list[str]
) -> None:
    await make(made, more, tmp_path)
    names = NAMES + more
    admin, chance = await made.connect(), random.Random(7)  # noqa: S311 - the same each time
    async with opened(made, size=3) as (sql, daemon):

        async def work() -> None:
            for name in chance.choices(names, k=len(names) + 3):
                async with sql.tenant(name).connection() as connection:
                    seen = dict(await connection.fetchrow(SEEN) or {})
                    assert seen.pop("role") == seen.pop("session") == made.logins(name).app
                    assert seen.pop("path") == f'"tenant_{name}", pg_temp'
                    assert seen.pop("timeout") == "5min"
                    assert seen.pop("read_only") == "off"
                    assert set(seen.values()) == {"", 0}
                    assert await connection.fetchval("SELECT carrier FROM flight") == name
                    await connection.execute(REMAINS)

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(work)
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shop'"
        assert await admin.fetchval(count) <= 3

    assert daemon.asked <= len(names)


async def test_a_connection_that_was_left_reaches_nothing(made: Database) -> None:
    async with opened(made, size=1) as (sql, _):
        async with sql.tenant("t0").connection() as kept:
            await kept.fetchval("SELECT 1")
        async with sql.tenant("t0").connection():
            with pytest.raises(RuntimeError, match="has been left"):
                await kept.fetchval("SELECT 1")


@pytest.mark.requirement("T13.whole")
async def test_a_transaction_commits_at_its_end_or_not_at_all(made: Database) -> None:
    async with opened(made, size=2) as (sql, _):
        tenant = sql.tenant("t1")
        async with tenant.transaction(isolation="serializable") as tx:
            await tx.copy_records("flight", records=[("UA",)], columns=["carrier"])
        with pytest.raises(asyncpg.DivisionByZeroError):
            await _insert_and_fail(tenant)
        async with tenant.connection() as left_open:
            await left_open.execute("BEGIN; INSERT INTO flight VALUES ('AA')")

        async with tenant.connection() as connection:
            found = await connection.fetch("SELECT carrier FROM flight ORDER BY 1")
            assert [each["carrier"] for each in found] == ["UA", "t1"]


async def _insert_and_fail(tenant: TenantTables) -> None:
    async with tenant.transaction() as tx:
        await tx.execute("INSERT INTO flight VALUES ('DL')")
        await tx.execute("SELECT 1 / 0")


@pytest.mark.requirement("T13.apart")
async def test_another_tenant_is_out_of_reach(made: Database) -> None:
    async with opened(made, size=1) as (sql, _), sql.tenant("t0").connection() as connection:
        for text in ("TABLE tenant_t1.flight", f"SET ROLE {made.logins('t1').app}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(text)


async def test_a_password_that_was_rotated_is_asked_for_again(
    made: Database, tmp_path: Path
) -> None:
    admin, files = await made.connect(), read_migrations(tmp_path / "t0")
    async with opened(made, size=1) as (sql, daemon):
        async with sql.tenant("t0").connection():
            pass
        async with sql.tenant("t1").connection():
            pass  # t0's is closed for it
        await rotate(admin, TenantId("t0"), made.spec(files))
        async with sql.tenant("t0").connection() as connection:
            assert await connection.fetchval("SELECT carrier FROM flight") == "t0"

    assert daemon.asked == 3
