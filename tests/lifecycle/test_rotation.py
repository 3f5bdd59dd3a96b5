"""New passwords for a tenant's logins: the row and the roles always agree."""

from __future__ import annotations

from itertools import count

import anyio
import pytest

from orchestrator.lifecycle.provision import ensure_provisioned, needs_provisioning, rotate
from orchestrator.model.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    RoleConflict,
    TenantRemoved,
)
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import Connection
from orchestrator.store.control import tenants
from tests.support.database import Database
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

ACME = TenantId("acme")


async def log_in(database: Database, rotation: int) -> None:
    """Log in under both roles of tenant acme, with the passwords of that rotation."""
    logins = database.spec().logins(ACME, rotation)
    for way_in in (logins.as_engine(database.target), logins.as_app(database.target)):
        await (await database.connect(way_in)).close()


@pytest.mark.requirement("T6.rotated")
async def test_only_the_new_passwords_open_and_sessions_go_on(database: Database) -> None:
    await database.provision("acme")
    admin = await database.connect()
    inside = await database.connect(database.as_app("acme"))

    row = await rotate(admin, ACME, database.spec())

    await log_in(database, row.rotation)
    with pytest.raises(DatabaseRefused):
        await database.connect(database.as_app("acme"))
    assert await inside.fetchval("SELECT 1") == 1
    assert row.rotation == 1
    assert not needs_provisioning(row, database.spec())


async def test_a_role_of_others_is_refused_and_everything_stays(database: Database) -> None:
    await database.provision("acme")
    admin = await database.connect()
    await admin.execute(f"COMMENT ON ROLE {database.logins('acme').app} IS 'another owner'")

    with pytest.raises(RoleConflict):
        await rotate(admin, ACME, database.spec())

    assert (await tenants.fetch(admin, ACME)).rotation == 0
    await log_in(database, 0)


async def test_a_tenant_that_is_being_deleted_gets_none(database: Database) -> None:
    await database.provision("acme")
    admin = await database.connect()
    await tenants.mark_deleting(admin, ACME, "purge")

    with pytest.raises(TenantRemoved):
        await rotate(admin, ACME, database.spec())


async def test_who_provisions_with_the_passwords_of_before_sets_the_new_ones(
    database: Database,
) -> None:
    await database.provision("acme")
    admin, late = await database.connect(), await database.connect()

    async def provisions() -> None:
        await ensure_provisioned(late, late, ACME, database.spec(), again=True)

    async with anyio.create_task_group() as group, admin.transaction():
        await admin.execute("SELECT FROM insula.lock WHERE name = 'tenant acme' FOR UPDATE")
        group.start_soon(provisions)
        await until(lambda: _waits(admin, late), what="it has read the row, and waits")
        await tenants.rotate(admin, ACME)

    await log_in(database, 1)


@pytest.mark.slow
async def test_a_death_at_any_statement_leaves_the_old_passwords_or_the_new(
    database: Database,
) -> None:
    await database.provision("acme")
    admin, seen = await database.connect(), list[int]()
    for cut in count(1):
        async with CuttingProxy(database.target, cut_at=cut, when="after").running() as proxy:
            try:
                broken = await database.connect(proxy.target)
                await rotate(broken, ACME, database.spec())
                break
            except DatabaseUnavailable:
                # The server may still be at the last statement: what holds the row is waited for.
                await admin.execute("SELECT FROM insula.tenant FOR UPDATE")
        row = await tenants.fetch(admin, ACME)
        await log_in(database, row.rotation)
        seen.append(row.rotation)

    assert seen.count(0) > 10
    assert set(seen) >= {0, 1}


async def _waits(admin: Connection, other: Connection) -> bool:
    blockers = await admin.fetchval("SELECT pg_blocking_pids($1)", other.get_server_pid())
    return bool(blockers)
