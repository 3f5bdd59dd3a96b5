"""The tokens in the control schema: their hashes alone, and each with its tenant."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import anyio
import asyncpg
import msgspec
import pytest
from msgspec.structs import replace

from orchestrator.lifecycle.rename import MOVE_ROWS
from orchestrator.model.bearer import Bearer, new_token, read_token
from orchestrator.model.errors import TooManyTokens
from orchestrator.model.ids import TenantId
from orchestrator.model.tokens import Role
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.control import holds, tenants, tokens
from orchestrator.store.control.tokens import Draft, Found, Kept
from tests.store.test_registration import BACK
from tests.support.database import Database

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
DAY = timedelta(days=1)


@pytest.fixture
async def admin(database: Database) -> Connection:
    connection = await database.connect()
    for tenant in (ACME, GLOBEX):
        await tenants.register(connection, tenant, "{}")
    return connection


def draft(tenant: TenantId | None = ACME, *, lasts: timedelta | None = None) -> Draft:
    """Return a token that is to be made."""
    _, bearer = new_token()
    return Draft(
        bearer=bearer, tenant=tenant, role=Role.ADMIN, name="", created_by="uid 0", lasts=lasts
    )


async def made(
    admin: Connection, tenant: TenantId | None = ACME, *, lasts: timedelta | None = None
) -> Bearer:
    """Return a new token that is kept."""
    wanted = draft(tenant, lasts=lasts)
    assert await tokens.mint(admin, wanted) is not None
    return wanted.bearer


async def is_valid(admin: Connection, bearer: Bearer) -> bool:
    found = await tokens.find(admin, bearer)
    live = await tokens.is_live(admin, bearer.id, ACME)
    assert live is (found is not None and found.live)
    return live


def test_a_token_is_known_by_its_form() -> None:
    text, bearer = new_token()

    assert text.startswith(f"insula_{bearer.id}_")
    assert len(text) == 73
    assert read_token(text) == bearer
    assert read_token(text[:-1] + ("a" if text[-1] != "a" else "b")) is None
    assert read_token(text + "\n") is None
    assert new_token()[1] != bearer


async def test_nothing_that_is_kept_opens_anything(admin: Connection) -> None:
    text, bearer = new_token()
    await tokens.mint(admin, msgspec.structs.replace(draft(), bearer=bearer))

    stored = await admin.fetchval("SELECT token::text FROM insula.token")

    assert text.split("_")[2] not in stored
    assert await tokens.find(admin, Bearer(bearer.id, new_token()[1].hash)) is None
    whose = (await tenants.fetch(admin, ACME)).registration
    assert (await tokens.find(admin, bearer)) == Found(
        bearer.hash, ACME, "admin", live=True, stale=True, archived=False, registration=whose
    )


async def test_a_revoked_or_expired_token_is_void(admin: Connection) -> None:
    revoked, expired, lasting = [await made(admin, lasts=DAY) for _ in range(3)]
    first = await tokens.revoke(admin, revoked.id, ACME)
    again = await tokens.revoke(admin, revoked.id, ACME)
    await admin.execute("UPDATE insula.token SET expires_at = now() WHERE id = $1", expired.id)

    valid = [await is_valid(admin, each) for each in (revoked, expired, lasting)]
    assert valid == [False, False, True]
    assert first == again
    assert await tokens.revoke(admin, lasting.id, GLOBEX) is None
    assert await tokens.revoke(admin, lasting.id, None) is None


async def test_its_use_is_noted_once_an_hour(admin: Connection) -> None:
    bearer = await made(admin)
    looked = "SELECT xmin::text FROM insula.token"
    for _ in range(3):
        await tokens.note_use(admin, bearer.id)
        found = await tokens.find(admin, bearer)
        assert found is not None
        assert not found.stale
    before = await admin.fetchval(looked)
    await tokens.note_use(admin, bearer.id)

    assert await admin.fetchval(looked) == before
    await admin.execute("UPDATE insula.token SET last_used_at = now() - interval '61 minutes'")
    assert (found := await tokens.find(admin, bearer))
    assert found.stale


async def test_a_tenants_tokens_follow_it_to_its_new_id(admin: Connection) -> None:
    bearer = await made(admin)

    await admin.execute(sql.fill(MOVE_ROWS, old=ACME, new="initech"))

    found = await tokens.find(admin, bearer)
    assert found is not None
    assert found.tenant == "initech"


async def test_a_token_lasts_no_longer_than_the_one_that_makes_it(admin: Connection) -> None:
    brief, lasting = await made(admin, lasts=DAY), await made(admin)
    ends = await admin.fetchval("SELECT expires_at FROM insula.token WHERE id = $1", brief.id)

    async def until(maker: Bearer, lasts: timedelta | None) -> datetime | None:
        wanted = msgspec.structs.replace(draft(lasts=lasts), made_with=maker.id)
        kept = await tokens.mint(admin, wanted)
        assert kept is not None
        return kept.expires_at

    assert await until(brief, None) == await until(brief, 2 * DAY) == ends
    assert (sooner := await until(brief, DAY / 2)) is not None
    assert sooner < ends
    assert await until(lasting, None) is None


async def test_a_token_that_is_void_makes_no_other(database: Database, admin: Connection) -> None:
    revoked, expired, other = await made(admin), await made(admin), await database.connect()
    await admin.execute("UPDATE insula.token SET expires_at = now() WHERE id = $1", expired.id)
    await tokens.revoke(admin, revoked.id, ACME)
    last = await made(admin)
    async with other.transaction():
        assert await tokens.mint(other, msgspec.structs.replace(draft(), made_with=last.id))
        await admin.execute("SET lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await tokens.revoke(admin, last.id, ACME)

    for void in (revoked, expired):
        wanted = msgspec.structs.replace(draft(), made_with=void.id)
        assert await tokens.mint(admin, wanted) is None


async def test_a_tenant_has_a_thousand_valid_tokens_and_no_more(
    database: Database, admin: Connection
) -> None:
    await admin.execute(
        "INSERT INTO insula.token"
        " (id, hash, tenant, role, name, created_by, revoked_at, expires_at)"
        " SELECT n, sha256(n::bytea), 'acme', 'read', '', '',"
        " CASE WHEN n::int > 1000 THEN now() END, CASE WHEN n::int > 1003 THEN now() END"
        " FROM (SELECT g::text AS n FROM generate_series(2, 1006) AS g) AS made"
    )
    other, refused = await database.connect(), list[TooManyTokens]()

    async def mint(connection: Connection) -> None:
        try:
            await tokens.mint(connection, draft())
        except TooManyTokens as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(mint, admin)
        group.start_soon(mint, other)

    assert [str(each) for each in refused] == [
        "tenant 'acme' has 1000 valid tokens, and may have no more"
    ]
    await tokens.mint(admin, draft(GLOBEX))
    await tokens.revoke(admin, "7", ACME)
    await tokens.mint(admin, draft())


async def test_a_deleted_tenants_tokens_go_and_an_archived_ones_stay(admin: Connection) -> None:
    gone, kept, whole = await made(admin), await made(admin, GLOBEX), await made(admin, None)
    for tenant, archive in ((ACME, None), (GLOBEX, "globex.tar")):
        await tenants.mark_deleting(admin, tenant, "purge")
        await tenants.bury(admin, tenant, archive)
    await tenants.register(admin, ACME, "{}")

    found = [await tokens.find(admin, each) for each in (gone, kept, whole)]
    assert [None if each is None else each.archived for each in found] == [None, True, False]
    assert await tokens.list_of(admin, ACME) == []


async def test_a_token_opens_what_is_back_from_an_archive_unless_it_was_revoked(
    admin: Connection,
) -> None:
    revoked, kept = await made(admin), await made(admin)
    await tenants.mark_deleting(admin, ACME, "archive")
    await tenants.bury(admin, ACME, "acme.tar")
    await tokens.revoke(admin, revoked.id, ACME)
    row = await tenants.fetch(admin, ACME)
    assert await tenants.bring_back(admin, replace(BACK, registration=row.registration))

    found = [await tokens.find(admin, each) for each in (revoked, kept)]

    assert [each and (each.live, each.archived) for each in found] == [
        (False, False),
        (True, False),
    ]


async def test_a_tenant_that_is_not_there_or_is_being_deleted_gets_none(admin: Connection) -> None:
    await tenants.mark_deleting(admin, ACME, "purge")

    for tenant in (ACME, TenantId("nobody")):
        assert await tokens.mint(admin, draft(tenant)) is None


async def test_whoever_renames_a_tenant_waits_for_its_new_tokens(
    database: Database, admin: Connection
) -> None:
    minting = await database.connect()
    hold = await holds.take(admin, ACME, "rename", UUID(int=7))
    async with minting.transaction():
        await made(minting)
        await admin.execute("SET lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            async with admin.transaction():
                await holds.keep(admin, hold)


async def test_what_has_long_been_void_is_forgotten(admin: Connection) -> None:
    old, new, whole = await made(admin), await made(admin), await made(admin, None)
    for each, tenant in ((old, ACME), (new, ACME), (whole, None)):
        await tokens.revoke(admin, each.id, tenant)
    await admin.execute(
        "UPDATE insula.token SET revoked_at = now() - interval '91 days' WHERE id <> $1", new.id
    )

    latest = await made(admin)

    assert {each.id for each in await tokens.list_of(admin, ACME)} == {new.id, latest.id}
    assert [each.id for each in await tokens.list_of(admin, None)] == [whole.id]


async def test_a_tenants_logins_see_neither_tokens_nor_audit(database: Database) -> None:
    await database.provision("acme")
    for login in (database.as_engine("acme"), database.as_app("acme")):
        connection = await database.connect(login)
        for statement in (
            "TABLE insula.token",
            "TABLE insula.audit",
            "UPDATE insula.token SET revoked_at = NULL",
            "INSERT INTO insula.token (id, role, name) VALUES ('x', 'admin', '')",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


async def test_the_columns_are_those_of_the_structs(admin: Connection) -> None:
    for query, shape in (
        (tokens.FIND, Found),
        (tokens.MINT, Kept),
        (tokens.LIST_OF, Kept),
        (tokens.REVOKE, Kept),
    ):
        statement = await admin.prepare(query)
        columns = [attribute.name for attribute in statement.get_attributes()]
        assert columns == [each.name for each in msgspec.structs.fields(shape)]
