"""Provisioning a tenant."""

from __future__ import annotations

from tests.support.database import Database


async def test_a_tenant_gets_a_schema_and_two_logins(database: Database) -> None:
    done = await database.provision("acme")

    engine = await database.connect(database.as_engine("acme"))
    app = await database.connect(database.as_app("acme"))

    assert done.created
    assert await engine.fetchval("SELECT epoch FROM tenant_acme.wf_fence") == 0
    assert await app.fetchval("SHOW search_path") == "tenant_acme, pg_temp"
