"""What a move does: nobody writes into what is being copied, and the copy is compared with it."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from orchestrator.lifecycle.move import compare, still
from orchestrator.model.errors import MoveFailed
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import unheard
from tests.support.database import Database, migrations

FLIGHT = "CREATE TABLE flight (carrier text NOT NULL);"
INSERT = "INSERT INTO flight VALUES ('UA')"


@pytest.mark.requirement("T6.moved")
async def test_nobody_writes_into_what_is_being_copied(database: Database, tmp_path: Path) -> None:
    await database.provision("acme", migrations(tmp_path, create_flight=FLIGHT))
    admin = await database.connect()
    app, engine = [
        await database.connect(each)
        for each in (database.as_app("acme"), database.as_engine("acme"))
    ]
    for connection in (app, engine):
        await connection.execute("SET lock_timeout = '20ms'")

    async with still(admin, TenantId("acme"), "tenant_acme"):
        for connection, statement in (
            (app, INSERT),
            (engine, "UPDATE tenant_acme.wf_fence SET epoch = 7"),
        ):
            with pytest.raises(asyncpg.LockNotAvailableError):
                await connection.execute(statement)
        copied = await admin.fetchval("SELECT count(*) FROM tenant_acme.flight")

    await app.execute(INSERT)
    assert copied == 0


@pytest.mark.requirement("T6.moved")
async def test_as_many_rows_that_say_something_else_are_not_the_same(database: Database) -> None:
    source, target = await database.connect(), await database.connect()
    for schema, values in (("here", "(1, 'UA'), (2, 'AA')"), ("there", "(2, 'AA'), (1, 'UA')")):
        await source.execute(
            f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.flight (n int, carrier text);"
            f"INSERT INTO {schema}.flight VALUES {values}"
        )
    sides = (source, target, TenantId("acme"), ("here", "there"), unheard)
    assert (await compare(*sides)).rows == 2

    await target.execute("UPDATE there.flight SET carrier = 'DL' WHERE n = 2")

    with pytest.raises(MoveFailed, match="table 'flight' of tenant 'acme' is not the same"):
        await compare(*sides)
