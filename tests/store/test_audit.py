"""The audit tells who did what and what came of it, and nobody can change it."""

from __future__ import annotations

import asyncpg
import msgspec
import pytest

from orchestrator.store.control import audit
from orchestrator.store.control.audit import Deed, Stored
from tests.support.database import Database

PAUSE = Deed("acme", "uid 1000", "tenant.pause", "monthly_report")
JOIN = """
    INSERT INTO insula.node (id, name, started_at, expires_at)
    VALUES (gen_random_uuid(), 'a', clock_timestamp(), clock_timestamp() + interval '1 hour')
"""
"""A node begins."""


async def test_an_entry_is_there_before_its_outcome(database: Database) -> None:
    connection = await database.connect()
    await connection.execute(JOIN)

    number = await audit.ask(connection, "a", PAUSE)
    (asked,) = await audit.page(connection, "acme", limit=10)
    await audit.answer(connection, number, "tenant_busy", "the mailbox is full")
    (answered,) = await audit.page(connection, "acme", limit=10)

    assert (asked.number, asked.outcome, asked.ended_at) == (number, None, None)
    told = (answered.node, answered.actor, answered.operation, answered.subject)
    assert told == ("a", "uid 1000", "tenant.pause", "monthly_report")
    assert (answered.outcome, answered.detail) == ("tenant_busy", "the mailbox is full")
    assert answered.ended_at is not None
    assert answered.ended_at >= answered.at


async def test_what_a_node_was_at_when_it_died_was_interrupted(database: Database) -> None:
    connection = await database.connect()

    async def outcomes() -> list[str | None]:
        return [each.outcome for each in await audit.page(connection, "acme", limit=10)]

    await connection.execute(JOIN)
    await audit.answer(connection, await audit.ask(connection, "a", PAUSE), "done")
    await audit.ask(connection, "a", PAUSE)
    assert await outcomes() == [None, "done"]
    await connection.execute("UPDATE insula.node SET expires_at = '-infinity'")
    assert await outcomes() == ["interrupted", "done"]
    await connection.execute(JOIN)
    await audit.ask(connection, "a", PAUSE)
    assert await outcomes() == [None, "interrupted", "done"]


async def test_pages_are_newest_first_and_of_one_tenant(database: Database) -> None:
    connection = await database.connect()
    numbers = [await audit.ask(connection, "a", PAUSE) for _ in range(3)]
    await audit.ask(connection, "a", msgspec.structs.replace(PAUSE, tenant="globex"))

    first = await audit.page(connection, "acme", limit=2)
    rest = await audit.page(connection, "acme", limit=2, before=first[-1].number)

    assert [each.number for each in (*first, *rest)] == numbers[::-1]
    statement = await connection.prepare(audit.PAGE)
    columns = tuple(attribute.name for attribute in statement.get_attributes())
    assert columns == Stored.__struct_fields__


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE insula.audit SET actor = 'nobody'",
        "DELETE FROM insula.audit",
        "TRUNCATE insula.audit",
        "TRUNCATE insula.audit, insula.wake CASCADE",
    ],
)
@pytest.mark.requirement("T10.appended")
async def test_nothing_is_changed_or_removed_not_even_by_a_superuser(
    database: Database, statement: str
) -> None:
    connection = await database.connect()
    await audit.ask(connection, "a", PAUSE)

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"insula.audit is only added to"):
        await connection.execute(statement)

    assert len(await audit.page(connection, "acme", limit=10)) == 1


@pytest.mark.requirement("T10.appended")
async def test_an_owner_that_is_no_superuser_writes_it_and_has_no_right_to_change_it(
    database: Database,
) -> None:
    connection = await database.connect()
    owner = f"{database.role_prefix}_owner"
    await connection.execute(f"""
        CREATE ROLE {owner};
        GRANT USAGE ON SCHEMA insula TO {owner};
        GRANT SELECT ON insula.node TO {owner};
        ALTER TABLE insula.audit OWNER TO {owner};
        SET ROLE {owner};
    """)

    number = await audit.ask(connection, "a", PAUSE)
    await audit.answer(connection, number, "done")

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
        await connection.execute("UPDATE insula.audit SET actor = 'nobody'")
    assert (await audit.page(connection, "acme", limit=1))[0].outcome == "done"


async def test_a_tenants_logins_see_nothing_of_it(database: Database) -> None:
    await database.provision("acme")
    for login in (database.as_engine("acme"), database.as_app("acme")):
        connection = await database.connect(login)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT FROM insula.audit")
