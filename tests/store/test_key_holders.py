"""Whose a key is: who takes the id of a former tenant takes no key of it."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from orchestrator.lifecycle.rename import MOVE_ROWS
from orchestrator.model.errors import TenantNotFound
from orchestrator.store import migrate, sql
from orchestrator.store.connect import Connection
from orchestrator.store.control import keys, tenants
from orchestrator.store.control.keys import Erased, Holder
from tests.store.test_registration import ACME, BACK, GLOBEX, bury
from tests.support.database import Database


@pytest.fixture
async def admin(database: Database) -> Connection:
    return await database.connect()


async def with_key(database: Database, admin: Connection) -> Holder:
    """Register acme, have a key made for it, and return whose that is."""
    row = await tenants.register(admin, ACME, "{}")
    await database.keys(ACME)
    return Holder(ACME, row.registration)


async def test_keys_go_along_with_a_new_id_and_those_of_former_tenants_stay_behind(
    database: Database, admin: Connection
) -> None:
    former = await with_key(database, admin)
    await bury(admin)
    present = await with_key(database, admin)
    own = await database.keys(ACME)
    row = await tenants.fetch(admin, ACME)
    async with admin.transaction():
        await keys.rename(admin, present, GLOBEX, database.key)
        await admin.execute(sql.fill(MOVE_ROWS, old=ACME, new=GLOBEX))
        await tenants.rename(admin, row, GLOBEX, "{}")

    assert await keys.erase_former(admin, ACME) == 1

    assert await keys.erased(admin, former) == Erased(keys=1, former=0)
    renamed = await database.keys(GLOBEX)
    assert renamed.wraps_as == own.wraps_as
    assert renamed.wrapping_key(UUID(int=1), own.wraps_as) is not None


async def test_a_tenant_that_begins_while_former_ones_are_erased_keeps_its_keys(
    database: Database, admin: Connection
) -> None:
    await with_key(database, admin)
    await bury(admin)
    present = await with_key(database, admin)

    assert await keys.erase_former(admin, ACME) == 1

    assert (await keys.known(admin, present, database.key, [])).seals


@pytest.mark.parametrize("state", ["registered", "archived"])
async def test_an_archive_that_was_sealed_for_another_tenant_takes_nobodys_place(
    admin: Connection, state: str
) -> None:
    row = await tenants.register(admin, ACME, "{}")
    if state == "archived":
        await bury(admin, archive="acme.tar")

    assert not await tenants.bring_back(admin, replace(BACK, registration=uuid4()))

    assert (await tenants.fetch(admin, ACME)).registration == row.registration


async def test_an_archive_does_not_come_back_as_a_tenant_that_was_erased_meanwhile(
    admin: Connection,
) -> None:
    row = await tenants.register(admin, ACME, "{}")
    await bury(admin)

    with pytest.raises(TenantNotFound):
        await tenants.bring_back(admin, replace(BACK, registration=row.registration))

    assert await tenants.bring_back(admin, BACK)
    assert (await tenants.fetch(admin, ACME)).registration == BACK.registration


BEFORE = """
    INSERT INTO insula.tenant (id, source, declaration, schema_name, state)
    VALUES ('acme', 'api', '{}', 'tenant_acme', 'provisioned'),
           ('globex', 'api', '{}', 'tenant_globex', 'removed');
    INSERT INTO insula.tenant_key (id, tenant, wrapped, wrapped_by, erased_at)
    SELECT md5(tenant || place)::uuid, tenant, wrapped, 'x',
           CASE WHEN wrapped IS NULL THEN now() END
    FROM (VALUES ('acme', 1, NULL), ('acme', 2, '\\x01'::bytea), ('globex', 3, NULL),
                 ('globex', 4, '\\x01'), ('gone', 5, '\\x01')) AS key (tenant, place, wrapped);
"""


async def test_keys_of_before_are_those_of_whoever_has_sealed_with_them(
    database: Database, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = migrate.control_migrations()
    await admin.execute("DROP SCHEMA insula CASCADE")
    with monkeypatch.context() as earlier:
        earlier.setattr(migrate, "control_migrations", lambda: every[:25])
        await migrate.migrate_control(admin)
    await admin.execute(BEFORE)

    await migrate.migrate_control(admin)

    acme, globex = [await keys.holder(admin, each) for each in (ACME, GLOBEX)]
    assert await keys.erased(admin, acme) == Erased(keys=0, former=0)
    assert await keys.erased(admin, globex) == Erased(keys=1, former=0)
    rows = await admin.fetch(
        "SELECT tenant FROM insula.tenant_key WHERE registration = ANY ($1) ORDER BY tenant",
        [acme.registration, globex.registration],
    )
    assert [tenant for (tenant,) in rows] == ["acme", "globex", "globex"]
