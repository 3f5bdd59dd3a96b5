"""Migrations of the application: each once, as it was, and nothing of it for the next one."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from orchestrator.lifecycle.provision import provision
from orchestrator.model.errors import (
    MigrationChecksumMismatch,
    MigrationFailed,
    SchemaVersionAhead,
)
from orchestrator.model.ids import TenantId
from tests.support.database import Database, migrations

ACME = TenantId("acme")
FLIGHT = "CREATE TABLE flight (id bigserial PRIMARY KEY, carrier text NOT NULL);"

LEAVES = """
CREATE TEMP TABLE staged AS TABLE flight;
PREPARE staged AS TABLE flight;
DECLARE staged CURSOR WITH HOLD FOR TABLE flight;
LISTEN staged;
SELECT pg_advisory_lock(6);
"""
"""What a file may leave in its session."""


@pytest.mark.requirement("T4.once")
async def test_a_migration_of_the_application_is_applied_once(
    database: Database, tmp_path: Path
) -> None:
    await database.provision("acme", migrations(tmp_path, create_flight=FLIGHT))
    more = migrations(tmp_path, fill="INSERT INTO flight (carrier) VALUES ('UA');")

    done = await database.provision("acme", more)
    await database.provision("acme", more)

    app = await database.connect(database.as_app("acme"))
    assert done.app_version == 2
    assert await app.fetchval("SELECT count(*) FROM flight") == 1


@pytest.mark.requirement("T4.checksum")
async def test_an_edited_migration_is_refused(database: Database, tmp_path: Path) -> None:
    await database.provision("acme", migrations(tmp_path, create_flight=FLIGHT))
    (tmp_path / "0001_create_flight.sql").write_text(FLIGHT + " -- edited")

    with pytest.raises(MigrationChecksumMismatch, match=r"0001_create_flight.sql has been edited"):
        await database.provision("acme", migrations(tmp_path))


async def test_a_migration_that_is_gone_is_refused(database: Database, tmp_path: Path) -> None:
    await database.provision("acme", migrations(tmp_path, create_flight=FLIGHT))

    with pytest.raises(SchemaVersionAhead, match="0001_create_flight"):
        await database.provision("acme")


async def test_a_syntax_error_names_its_line(database: Database, tmp_path: Path) -> None:
    files = migrations(tmp_path, broken="CREATE TABLE a ();\n\nCREATE TABEL b ();")

    with pytest.raises(
        MigrationFailed, match=r'0001_broken.sql:3: syntax error at or near "TABEL"'
    ):
        await database.provision("acme", files)


async def test_what_fails_at_run_time_names_the_line_of_its_statement(
    database: Database, tmp_path: Path
) -> None:
    body = "CREATE TABLE a (n int CHECK (n > 0));\n\n\nINSERT INTO a SELECT\n0;"

    with pytest.raises(MigrationFailed, match=r"0001_broken.sql:4: .*violates check") as caught:
        await database.provision("acme", migrations(tmp_path, broken=body))

    assert (caught.value.data["line"], caught.value.data["position"]) == (4, None)
    assert caught.value.hint.startswith("nothing of this file was applied")
    admin = await database.connect()
    assert await admin.fetchval("SELECT to_regclass('tenant_acme.a')") is None


async def test_what_a_migration_sets_does_not_outlive_it(
    database: Database, tmp_path: Path
) -> None:
    files = migrations(
        tmp_path,
        first="SET search_path TO public; SET statement_timeout TO 1; SET work_mem TO '64kB';",
        second="CREATE TABLE here ();",
    )
    admin = await database.connect()
    await admin.execute("LOAD 'plpgsql'")  # the engine's functions do, and it brings settings
    before = await admin.fetch("SELECT name, setting FROM pg_settings WHERE source <> 'client'")

    await provision(admin, ACME, database.spec(files))

    after = await admin.fetch("SELECT name, setting FROM pg_settings WHERE source <> 'client'")
    assert after == before
    assert await admin.fetchval("SELECT to_regclass('tenant_acme.here') IS NOT NULL")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.requirement("T4.session")
async def test_what_a_migration_leaves_in_its_session_is_not_there_for_the_next_tenant(
    database: Database, tmp_path: Path, *, fails: bool
) -> None:
    files = migrations(tmp_path, flight=FLIGHT, staged=LEAVES + "SELECT 1 / 0;" * fails)
    admin, other = await database.connect(), await database.connect()
    for tenant in (ACME, TenantId("globex")):
        with pytest.raises(MigrationFailed, match="by zero") if fails else nullcontext():
            await provision(admin, tenant, database.spec(files))

    assert await admin.fetchval("SELECT to_regclass('pg_temp.staged')") is None
    assert await admin.fetch("SELECT FROM pg_listening_channels()") == []
    assert await other.fetchval("SELECT pg_try_advisory_lock(6)")
