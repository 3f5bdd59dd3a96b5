"""What a move does on one side: nobody writes into what is being copied."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from orchestrator.lifecycle.move import still
from orchestrator.model.ids import TenantId
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
