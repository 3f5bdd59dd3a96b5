"""Renaming a tenant: all of it or nothing, and everything works under the new id."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import pytest

from orchestrator.lifecycle.provision import ensure_provisioned
from orchestrator.lifecycle.removal import remove
from orchestrator.lifecycle.rename import MOVE_ROWS, Renaming, rename
from orchestrator.model.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    RoleConflict,
    SchemaConflict,
    TenantExists,
    TenantHeld,
    TenantInUse,
)
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import Connection
from orchestrator.store.control import holds, leases, pauses, tenants
from orchestrator.store.control.holds import Hold
from orchestrator.store.tenant.runs import Pause
from tests.support.database import Database, migrations
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
NODE = UUID(int=7)


@asynccontextmanager
async def named(_: Connection) -> AsyncIterator[str]:
    """Stand for the daemon, which knows the aliases."""
    yield '{"aliases": ["acme"]}'


async def unnoted(_: Connection) -> None:
    """Write nothing down."""


async def held(admin: Connection) -> Hold:
    """Hold acme, as this node."""
    return await holds.take(admin, ACME, "rename", NODE)


def renaming(
    hold: Hold,
    *,
    forced: bool = False,
    note: Callable[[Connection], Awaitable[None]] = unnoted,
) -> Renaming:
    """Return what makes acme globex."""
    return Renaming(hold=hold, new=GLOBEX, forced=forced, naming=named, note=note)


async def renamed(database: Database) -> Connection:
    """Rename acme, and return the admin's connection."""
    admin = await database.connect()
    await rename(admin, renaming(await held(admin)), database.spec())
    return admin


async def submitted(admin: Connection, tenant: str = "acme", *, key: str | None = None) -> UUID:
    """Start a run, that nobody takes."""
    run: UUID = await admin.fetchval("SELECT insula.submit($1, 'report', key => $2)", tenant, key)
    return run


async def names(admin: Connection, database: Database) -> list[str]:
    """Return the schemas and roles of both ids that the catalogs have."""
    roles = [role for each in (ACME, GLOBEX) for role in _roles(database, each)]
    found = await admin.fetch(
        "SELECT nspname::text FROM pg_namespace WHERE nspname IN ('tenant_acme', 'tenant_globex')"
        " UNION ALL SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1::text[]) ORDER BY 1",
        roles,
    )
    return [each[0] for each in found]


def _roles(database: Database, tenant: str) -> list[str]:
    logins = database.logins(tenant)
    return [logins.app, logins.engine]


def whole(database: Database, tenant: str) -> list[str]:
    """Return what the catalogs have of a tenant that is whole."""
    return sorted([f"tenant_{tenant}", *_roles(database, tenant)])


@pytest.mark.requirement("T6.renamed")
async def test_schema_and_logins_have_the_new_name_and_a_tombstone_the_old(
    database: Database,
) -> None:
    await database.provision("acme")

    admin = await renamed(database)

    assert await names(admin, database) == whole(database, "globex")
    row, left = await tenants.fetch(admin, GLOBEX), await tenants.fetch(admin, ACME)
    assert (row.state, row.schema_name, row.origin) == ("provisioned", "tenant_globex", "acme")
    assert (row.held_for, row.held_at) == (None, None)
    assert (left.state, left.rotation) == ("removed", 1)


async def test_both_logins_work_under_their_new_names_alone(database: Database) -> None:
    await database.provision("acme")
    before = [database.as_engine("acme"), database.as_app("acme")]
    inside = [await database.connect(login) for login in before]

    await renamed(database)

    for login in before:
        with pytest.raises(DatabaseRefused):
            await database.connect(login)
    for each in inside:
        with pytest.raises(Exception, match=r"terminat|closed"):
            await each.fetchval("SELECT 1")
    engine = await database.connect(database.as_engine("globex"))
    app = await database.connect(database.as_app("globex"))
    assert await engine.fetchval("SELECT epoch FROM wf_fence") == 0
    assert await app.fetchval("SELECT current_schema()") == "tenant_globex"
    assert await app.fetchval("SELECT wf_owned(0) IS NOT NULL")


async def test_the_tables_and_functions_of_the_application_go_along(
    database: Database, tmp_path: Path
) -> None:
    made = migrations(
        tmp_path,
        flight="CREATE TABLE flight (id int PRIMARY KEY); INSERT INTO flight VALUES (1);"
        "CREATE VIEW flights AS SELECT * FROM flight;"
        "CREATE FUNCTION many() RETURNS bigint LANGUAGE sql SET search_path FROM CURRENT"
        " AS 'SELECT count(*) FROM flight'",
    )
    await database.provision("acme", made)

    await renamed(database)

    app = await database.connect(database.as_app("globex"))
    assert await app.fetchval("SELECT count(*) FROM flights") == 1
    assert await app.fetchval("SELECT many()") == 1


async def test_a_function_that_names_the_schema_is_told_before_anything_is_done(
    database: Database,
) -> None:
    await database.provision("acme")
    admin = await database.connect()
    await admin.execute(
        "CREATE FUNCTION tenant_acme.many() RETURNS bigint LANGUAGE sql"
        " AS 'SELECT count(*) FROM tenant_acme.wf_run'"
    )

    with pytest.raises(SchemaConflict, match=r"name its schema: tenant_acme.many\(\)"):
        await renamed(database)

    assert await names(admin, database) == whole(database, "acme")


async def test_runs_keys_and_what_is_to_be_woken_go_along(database: Database) -> None:
    await database.provision("acme")
    admin = await database.connect()
    run = await submitted(admin, key="march")
    await admin.execute("INSERT INTO insula.node VALUES ($1, 'a', now(), now(), 'infinity')", NODE)
    lease = await leases.claim(admin, ACME, NODE)
    paused = [Pause("", datetime(2026, 3, 1, tzinfo=UTC), "wrong figures")]
    await leases.release(admin, ACME, NODE, lease.epoch, wake_at=None, paused=paused)
    await submitted(admin)

    await rename(admin, renaming(await held(admin), forced=True), database.spec())

    assert await submitted(admin, "globex", key="march") == run
    assert await admin.fetchval("SELECT count(*) FROM insula.wake WHERE tenant = 'acme'") == 0
    assert await admin.fetchval("SELECT count(*) FROM insula.wake WHERE tenant = 'globex'") > 1
    assert [each.tenant for each in await pauses.all_paused(admin)] == [GLOBEX]
    claimed = await leases.claim(admin, GLOBEX, NODE)
    assert (claimed.epoch, claimed.pauses) == (lease.epoch + 1, paused)
    with pytest.raises(Exception, match="'acme' was renamed"):
        await submitted(admin)


async def test_every_row_of_the_control_schema_by_tenant_is_thought_of(database: Database) -> None:
    admin = await database.connect()

    found = await admin.fetch(
        "SELECT DISTINCT a.attrelid::regclass::text FROM pg_attribute AS a"
        " JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relnamespace = 'insula'::regnamespace"
        " AND c.relkind = 'r' AND a.attname = 'tenant' AND a.attinhcount = 0"
    )

    stays, sealed_anew = {"insula.audit", "insula.cache"}, {"insula.tenant_key"}
    follows = {"insula.figures"}  # by its foreign key
    assert {each[0] for each in found} - stays - sealed_anew - follows == {
        word for word in MOVE_ROWS.split() if word.startswith("insula.")
    } - {"insula.tenant"}


@pytest.mark.requirement("T6.busy")
async def test_unfinished_runs_keep_a_tenant_unless_it_is_forced(database: Database) -> None:
    await database.provision("acme")
    admin = await database.connect()
    await submitted(admin)
    await submitted(admin)
    hold = await held(admin)

    with pytest.raises(TenantInUse, match="has 2 unfinished runs") as refused:
        await rename(admin, renaming(hold), database.spec())
    assert "let them go on under the new id with --force" in refused.value.hint

    await rename(admin, renaming(hold, forced=True), database.spec())
    assert await names(admin, database) == whole(database, "globex")


async def test_a_run_in_a_transaction_that_is_open_goes_along(database: Database) -> None:
    await database.provision("acme")
    admin, application = await database.connect(), await database.connect()
    run = None

    async def forced(hold: Hold) -> None:
        other = await database.connect()
        await rename(other, renaming(hold, forced=True), database.spec())

    async with anyio.create_task_group() as group, application.transaction():
        run = await submitted(application)
        group.start_soon(forced, await held(admin))
        await until(lambda: _waits(admin), what="the renaming waits")

    assert await admin.fetchval("SELECT id FROM tenant_globex.wf_run") == run
    assert await admin.fetchval("SELECT tenant FROM insula.wake") == "globex"


async def _waits(admin: Connection) -> bool:
    found: bool = await admin.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock')"
    )
    return found


async def test_a_tenant_that_was_never_used_is_renamed(database: Database) -> None:
    admin = await database.connect()
    await tenants.register(admin, ACME, "{}")

    await renamed(database)

    assert (await tenants.fetch(admin, GLOBEX)).state == "registered"
    assert await names(admin, database) == []


async def test_what_is_taken_is_told_and_everything_stays(database: Database) -> None:
    await database.provision("acme")
    admin = await database.connect()
    hold = await held(admin)
    app = database.logins("globex").app

    await admin.execute("CREATE SCHEMA tenant_globex")
    with pytest.raises(SchemaConflict, match="schema tenant_globex exists already"):
        await rename(admin, renaming(hold), database.spec())
    await admin.execute(f"DROP SCHEMA tenant_globex; CREATE ROLE {app}")
    with pytest.raises(RoleConflict, match="exists already"):
        await rename(admin, renaming(hold), database.spec())
    await admin.execute(f"DROP ROLE {app}")
    await tenants.register(admin, GLOBEX, "{}")
    with pytest.raises(TenantExists, match="'globex' exists already"):
        await rename(admin, renaming(hold), database.spec())

    assert await names(admin, database) == whole(database, "acme")


async def test_the_id_of_a_deleted_tenant_may_be_had_but_not_its_passwords(
    database: Database,
) -> None:
    await database.provision("globex")
    admin = await database.connect()
    dead = database.as_engine("globex")
    await admin.execute("INSERT INTO insula.lease (tenant, epoch) VALUES ('globex', 41)")
    await remove(admin, await tenants.mark_deleting(admin, GLOBEX, "purge"), database.spec())
    await database.provision("acme")
    await admin.execute("INSERT INTO insula.lease (tenant, epoch) VALUES ('acme', 3)")

    await rename(admin, renaming(await held(admin)), database.spec())

    row = await tenants.fetch(admin, GLOBEX)
    assert row.rotation == 1
    assert await admin.fetchval("SELECT epoch FROM insula.lease WHERE tenant = 'globex'") == 41
    with pytest.raises(DatabaseRefused):
        await database.connect(dead)
    fits = database.spec().logins(GLOBEX, row.rotation).as_engine(database.target)
    assert await (await database.connect(fits)).fetchval("SELECT 1") == 1


async def test_the_old_id_may_be_used_again_and_has_nothing_of_before(database: Database) -> None:
    await database.provision("acme")
    before = database.as_engine("acme")
    admin = await renamed(database)

    await tenants.register(admin, ACME, "{}")
    again = await ensure_provisioned(admin, admin, ACME, database.spec())

    assert (again.rotation, again.origin) == (1, None)
    assert len(await names(admin, database)) == 6
    with pytest.raises(DatabaseRefused):
        await database.connect(before)


async def test_a_hold_that_is_not_in_force_any_more_renames_nothing(database: Database) -> None:
    await database.provision("acme")
    admin = await database.connect()
    hold = await held(admin)
    await holds.release(admin, hold)
    await holds.take(admin, ACME, "rename", uuid4())

    with pytest.raises(TenantHeld):
        await rename(admin, renaming(hold), database.spec())

    assert await names(admin, database) == whole(database, "acme")


@pytest.mark.slow
async def test_a_death_at_any_statement_leaves_the_old_tenant_or_the_new_one(
    database: Database,
) -> None:
    admin = await database.connect()
    await database.provision("acme")
    cut = 0
    for cut in count(1):
        hold = await held(admin)
        async with CuttingProxy(database.target, cut_at=cut, when="after").running() as proxy:
            try:
                broken = await database.connect(proxy.target)
                await rename(broken, renaming(hold), database.spec())
                break
            except DatabaseUnavailable:
                # The server may still be at the last statement: what holds the lock is waited for.
                await admin.execute("SELECT FROM insula.lock FOR UPDATE")
        states = {row.id: row.state for row in await tenants.fetch_all(admin)}
        new = states.get(GLOBEX) == "provisioned"
        assert states[ACME] == ("removed" if new else "provisioned"), f"cut {cut}"
        assert await names(admin, database) == whole(database, "globex" if new else "acme")
        await holds.release(admin, hold)
        if new:
            await remove(
                admin, await tenants.mark_deleting(admin, GLOBEX, "purge"), database.spec()
            )
            await _begin_anew(admin, database)

    assert cut > 15
    assert await names(admin, database) == whole(database, "globex")


async def _begin_anew(admin: Connection, database: Database) -> None:
    await tenants.register(admin, ACME, "{}")
    await ensure_provisioned(admin, admin, ACME, database.spec())
