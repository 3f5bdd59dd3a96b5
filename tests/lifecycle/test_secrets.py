"""The secrets of a tenant on a real server: sealed in every row, and lost with their key."""

from __future__ import annotations

from functools import partial
from itertools import count
from uuid import uuid4

import anyio
import asyncpg
import pytest

from orchestrator.lifecycle.keys import InstallationKey
from orchestrator.lifecycle.removal import remove
from orchestrator.lifecycle.sealing import own_keys
from orchestrator.model.errors import (
    DatabaseUnavailable,
    InvalidRequest,
    SecretNotFound,
    SecretUnreadable,
    TenantHeld,
)
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import DRIVER_ERRORS, Connection
from orchestrator.store.control import holds, keys, tenants
from orchestrator.store.tenant import secrets
from orchestrator.store.tenant.sealing import DataKey, WrappedKey
from orchestrator.store.tenant.secrets import OpenSecrets, OwnedSecrets, Vault
from tests.support.database import Database
from tests.support.dump import dump, in_file
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
PLAIN = "k-7f3a secret \u20ac"


async def read(
    database: Database, name: str, *, tenant: TenantId = ACME, key: InstallationKey | None = None
) -> str:
    """Return a secret as a supervisor of the tenant reads it, under its engine's login."""
    connection = await database.connect(database.as_engine(tenant))
    admin = await database.connect()
    rows = OwnedSecrets(lambda act: act(connection), schema=f"tenant_{tenant}")
    holder = await keys.holder(admin, tenant)
    reader = OpenSecrets(tenant, rows, partial(keys.known, admin, holder, key or database.key))
    try:
        return await reader.read(name)
    finally:
        await connection.close()
        await admin.close()


async def destroy_keys(admin: Connection, tenant: TenantId) -> None:
    """Do to the registry what the erasure of a tenant does."""
    await tenants.mark_deleting(admin, tenant, "erase")
    await tenants.bury(admin, tenant, None)


@pytest.fixture
async def admin(database: Database) -> Connection:
    """Return the admin's connection to a database with tenant acme."""
    await database.provision(ACME)
    return await database.connect()


@pytest.fixture
async def vault(database: Database, admin: Connection) -> Vault:
    """Return what operators do to the secrets of tenant acme."""
    return Vault(ACME, await database.keys(ACME))


@pytest.mark.requirement("T8.secret")
async def test_a_secret_is_read_by_the_tenant_and_stands_nowhere(
    database: Database, admin: Connection, vault: Vault
) -> None:
    await vault.put(admin, "api_key", "an older one")
    await vault.put(admin, "api_key", PLAIN)
    await vault.put(admin, "other", "more of it")

    assert await read(database, "api_key") == PLAIN
    assert [each.name for each in await vault.listed(admin)] == ["api_key", "other"]
    stored = await dump(admin)
    assert "api_key" in stored
    assert PLAIN not in stored
    assert "more of it" not in stored


async def test_a_secret_that_is_not_there_is_named(
    database: Database, admin: Connection, vault: Vault
) -> None:
    await vault.put(admin, "api_key", PLAIN)
    await vault.remove(admin, "api_key")

    with pytest.raises(SecretNotFound, match="no secret 'api_key'"):
        await read(database, "api_key")
    with pytest.raises(SecretNotFound):
        await vault.remove(admin, "api_key")


TAMPERING = (
    "UPDATE tenant_acme.wf_secret SET name = 'other' WHERE name = 'api_key'",
    "UPDATE tenant_acme.wf_secret SET id = gen_random_uuid()",
    "UPDATE tenant_acme.wf_secret SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1)",
    "UPDATE tenant_acme.wf_secret SET sealed = substr(sealed, 1, 9)",
    "UPDATE tenant_acme.wf_key SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)",
    "UPDATE tenant_acme.wf_key SET wrapped = (SELECT wrapped FROM tenant_globex.wf_key)",
    (
        "UPDATE tenant_acme.wf_key SET (wrapped, wrapped_by) = "
        "(SELECT wrapped, wrapped_by FROM tenant_globex.wf_key)"
    ),
    (
        "UPDATE tenant_acme.wf_secret SET (sealed, id) = "
        "(SELECT sealed, id FROM tenant_globex.wf_secret)"
    ),
)


@pytest.mark.requirement("T8.bound")
async def test_what_was_changed_or_came_from_elsewhere_is_not_opened(
    database: Database, admin: Connection, vault: Vault
) -> None:
    await database.provision(GLOBEX)
    await Vault(GLOBEX, await database.keys(GLOBEX)).put(admin, "api_key", "globex's own")

    for tampering in TAMPERING:
        await admin.execute("DELETE FROM tenant_acme.wf_secret; DELETE FROM tenant_acme.wf_key")
        await vault.put(admin, "api_key", PLAIN)
        await admin.execute(tampering)
        with pytest.raises(SecretUnreadable) as refused:
            await read(database, "other" if "other" in tampering else "api_key")
        assert PLAIN not in repr(refused.getrepr(style="long"))


async def test_rows_of_another_tenant_are_opened_once_its_key_has_sealed_them(
    database: Database, admin: Connection, vault: Vault
) -> None:
    await vault.put(admin, "api_key", PLAIN)
    await database.provision(GLOBEX)
    for table in ("wf_key", "wf_secret"):
        await admin.execute(f"INSERT INTO tenant_globex.{table} TABLE tenant_acme.{table}")
    with pytest.raises(SecretUnreadable, match="another tenant's"):
        await read(database, "api_key", tenant=GLOBEX)

    await own_keys(admin, admin, GLOBEX, database.key)

    await destroy_keys(admin, ACME)
    assert await read(database, "api_key", tenant=GLOBEX) == PLAIN


@pytest.mark.requirement("T8.bound")
async def test_a_tenants_key_opens_nothing_under_the_name_of_another(
    database: Database, admin: Connection, vault: Vault
) -> None:
    await vault.put(admin, "api_key", PLAIN)
    await database.provision(GLOBEX)
    for table in ("wf_key", "wf_secret"):
        await admin.execute(f"INSERT INTO tenant_globex.{table} TABLE tenant_acme.{table}")

    whose = await keys.holder(admin, GLOBEX)
    for change, refused in (
        (f"registration = '{whose.registration}'", "another tenant's"),
        ("tenant = 'globex'", "belongs to another row"),
    ):
        await admin.execute(f"UPDATE insula.tenant_key SET {change}")
        with pytest.raises(SecretUnreadable, match=refused):
            await read(database, "api_key", tenant=GLOBEX)


async def test_a_data_key_of_before_there_were_keys_of_tenants_is_sealed_with_one(
    database: Database, admin: Connection
) -> None:
    await Vault(ACME, database.key).put(admin, "api_key", PLAIN)

    await database.provision(ACME)

    assert await read(database, "api_key") == PLAIN
    wrapped_by = await admin.fetchval("SELECT wrapped_by FROM tenant_acme.wf_key")
    assert database.key.wrapping_key(uuid4(), wrapped_by) is None
    assert wrapped_by == await admin.fetchval("SELECT id::text FROM insula.tenant_key")


@pytest.mark.requirement("T8.rotated")
async def test_a_rotation_seals_with_a_new_key_and_erases_the_old_one(
    database: Database, admin: Connection, vault: Vault
) -> None:
    await vault.put(admin, "api_key", PLAIN)
    before = await admin.fetchrow("TABLE tenant_acme.wf_secret")
    old = await admin.fetchval("SELECT id FROM tenant_acme.wf_key")

    assert await vault.rotate(admin) == 1

    after = await admin.fetchrow("TABLE tenant_acme.wf_secret")
    assert await admin.fetch("SELECT id FROM tenant_acme.wf_key WHERE id = $1", old) == []
    assert before is not None
    assert after is not None
    assert (before["key_id"], after["key_id"] == before["key_id"]) == (old, False)
    assert before["sealed"] != after["sealed"]
    assert await read(database, "api_key") == PLAIN


async def test_a_new_installation_key_takes_over_with_the_former_beside_it(
    database: Database, admin: Connection, vault: Vault
) -> None:
    await vault.put(admin, "api_key", PLAIN)
    fresh, acme = InstallationKey(bytes(32)), await keys.holder(admin, ACME)
    with pytest.raises(SecretUnreadable, match="another installation's key"):
        await read(database, "api_key", key=fresh)
    with pytest.raises(SecretUnreadable):
        await keys.rename(admin, acme, ACME, fresh)

    both = InstallationKey(bytes(32), former=database.key)
    assert await read(database, "api_key", key=both) == PLAIN
    await keys.rename(admin, acme, ACME, both)

    assert await read(database, "api_key", key=fresh) == PLAIN
    with pytest.raises(SecretUnreadable):
        await read(database, "api_key")


@pytest.mark.requirement("T8.rotated")
async def test_a_key_that_sealed_payloads_stays_and_is_wrapped_anew(
    database: Database, admin: Connection, vault: Vault
) -> None:
    await Vault(ACME, database.key).put(admin, "api_key", PLAIN)
    await admin.execute("UPDATE tenant_acme.wf_key SET payloads = true")
    kept = await admin.fetchval("SELECT id FROM tenant_acme.wf_key")

    await vault.rotate(admin)

    row = await admin.fetchrow(
        "SELECT id, wrapped, wrapped_by FROM tenant_acme.wf_key WHERE id = $1 AND NOT current", kept
    )
    assert row is not None
    assert row["wrapped_by"] == await admin.fetchval("SELECT id::text FROM insula.tenant_key")
    assert DataKey.unwrap(WrappedKey(*row), await database.keys()).id == kept


async def test_with_the_tenant_goes_its_key_and_what_it_has_sealed_is_lost(
    database: Database, admin: Connection, vault: Vault
) -> None:
    await vault.put(admin, "api_key", PLAIN)
    await admin.execute("CREATE TABLE copied AS TABLE tenant_acme.wf_secret")
    row = await tenants.mark_deleting(admin, ACME, "purge", forced=True)
    await remove(admin, row, database.spec())

    await database.provision(GLOBEX)
    await Vault(GLOBEX, await database.keys(GLOBEX)).put(admin, "another", "x")
    other = await admin.fetchval("SELECT id FROM tenant_globex.wf_key")
    await admin.execute("UPDATE copied SET key_id = $1", other)
    await admin.execute("INSERT INTO tenant_globex.wf_secret TABLE copied")

    with pytest.raises(SecretUnreadable):
        await read(database, "api_key", tenant=GLOBEX)
    assert PLAIN not in await dump(admin)


async def test_of_destroyed_keys_nothing_is_left_in_the_file_of_their_table(
    database: Database, admin: Connection
) -> None:
    for tenant in (ACME, GLOBEX, TenantId("initech")):
        await database.provision(tenant)
        await database.keys(tenant)
    stored = [row[0] for row in await admin.fetch("SELECT wrapped FROM insula.tenant_key")]
    for tenant in (ACME, GLOBEX, TenantId("initech")):
        await destroy_keys(admin, tenant)

    assert await keys.wipe(admin)

    assert [await in_file(admin, "insula.tenant_key", key) for key in stored] == [False] * 3


@pytest.mark.parametrize("login", ["engine", "app"])
async def test_no_login_of_the_tenant_may_write_and_only_the_supervisors_may_read(
    database: Database, admin: Connection, vault: Vault, login: str
) -> None:
    await vault.put(admin, "api_key", PLAIN)
    way_in = database.as_engine(ACME) if login == "engine" else database.as_app(ACME)
    connection = await database.connect(way_in)

    writes = [
        f"{verb} tenant_acme.{table}"
        for table in ("wf_key", "wf_secret")
        for verb in ("DELETE FROM", "TRUNCATE", "INSERT INTO")
    ]
    reads = ["TABLE tenant_acme.wf_key", "TABLE tenant_acme.wf_secret"]
    for text in [*writes, *(reads if login == "app" else [])]:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(text + (" DEFAULT VALUES" if "INSERT" in text else ""))


async def test_two_first_secrets_at_once_share_one_key(
    database: Database, admin: Connection, vault: Vault
) -> None:
    async with anyio.create_task_group() as group:
        for name in ("a", "b", "c"):
            group.start_soon(vault.put, await database.connect(), name, f"{PLAIN} {name}")

    assert await admin.fetchval("SELECT count(*) FROM tenant_acme.wf_key") == 1
    assert [await read(database, name) for name in "abc"] == [f"{PLAIN} {name}" for name in "abc"]


async def test_a_first_secret_and_a_rotation_at_once_make_one_key(
    database: Database, admin: Connection, vault: Vault
) -> None:
    first, second = await database.connect(), await database.connect()
    async with anyio.create_task_group() as group, first.transaction():
        await vault.put(first, "api_key", PLAIN)
        group.start_soon(vault.rotate, second)
        await until(lambda: _waits(admin))

    assert await admin.fetchval("SELECT count(*) FROM tenant_acme.wf_key") == 1
    assert await read(database, "api_key") == PLAIN


async def _waits(admin: Connection) -> bool:
    found: bool = await admin.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    return found


async def test_there_is_a_bound(
    admin: Connection, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "MOST", 2)
    for name in ("a", "b", "b"):
        await vault.put(admin, name, PLAIN)

    with pytest.raises(InvalidRequest, match="at most 2 secrets"):
        await vault.put(admin, "c", PLAIN)


@pytest.mark.slow
async def test_a_death_at_any_statement_of_a_rotation_leaves_every_secret_readable(
    database: Database, admin: Connection, vault: Vault
) -> None:
    for name in ("a", "b"):
        await vault.put(admin, name, f"{PLAIN} {name}")
    for cut in count(1):
        async with CuttingProxy(database.target, cut_at=cut, when="after").running() as proxy:
            try:
                await vault.rotate(await database.connect(proxy.target))
            except (DatabaseUnavailable, *DRIVER_ERRORS):
                await admin.execute("LOCK TABLE tenant_acme.wf_key; SELECT 1")
            if not proxy.has_cut:
                break
        assert [await read(database, name) for name in "ab"] == [f"{PLAIN} {n}" for n in "ab"]
    assert cut > 5


async def test_nothing_is_sealed_for_a_tenant_that_is_about_to_be_renamed(
    database: Database, admin: Connection
) -> None:
    vault = Vault(ACME, await database.keys(ACME), holds.keep_off)
    await holds.take(admin, ACME, "rename", uuid4())

    with pytest.raises(TenantHeld):
        await vault.put(admin, "api_key", PLAIN)

    assert await admin.fetchval("SELECT count(*) FROM tenant_acme.wf_key") == 0
