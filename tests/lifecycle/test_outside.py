"""Migrations of the application that run outside a transaction."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from orchestrator.lifecycle.ledgers import Ledgers, lacking, read_ledgers
from orchestrator.lifecycle.provision import provision, rehearsal
from orchestrator.model.errors import ConfigError, DatabaseUnavailable, LockNotHad, MigrationFailed
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import Connection
from tests.support.database import Database, migrations
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

ACME = TenantId("acme")
FLIGHT = (
    "CREATE TABLE flight (id int PRIMARY KEY, day int); INSERT INTO flight VALUES (1, 1), (2, 1);"
)
INDEX = (
    "-- insula: no-transaction\n"
    "DROP INDEX CONCURRENTLY IF EXISTS flight_by_day;\n"
    "CREATE INDEX CONCURRENTLY flight_by_day ON flight (day);\n"
)
UNIQUE = """-- insula: no-transaction

CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS one ON flight (day);
"""
LAST = "ALTER TABLE flight ADD note text;"


async def ledgers(connection: Connection) -> Ledgers:
    """Return the ledgers of acme."""
    return (await read_ledgers(connection, [ACME]))[ACME]


def lock(connection: Connection) -> str:
    """Return a query that tells whether the connection waits for a lock."""
    pid = connection.get_server_pid()
    return f"SELECT EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted)"


async def test_an_index_is_built_concurrently_between_two_files_that_are_transactions(
    database: Database, tmp_path: Path
) -> None:
    done = await database.provision(
        "acme", migrations(tmp_path, flight=FLIGHT, index=INDEX, last=LAST)
    )
    admin = await database.connect()

    assert done.app_version == 3
    assert await admin.fetchval(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = $1::regclass",
        "tenant_acme.flight_by_day",
    )
    found = await ledgers(admin)
    assert ([each.number for each in found.app], found.begun) == ([1, 2, 3], [])


async def test_the_session_has_its_own_settings_again(database: Database, tmp_path: Path) -> None:
    files = migrations(tmp_path, flight=FLIGHT, index=INDEX + "SET work_mem = '1MB';")
    admin = await database.connect()
    before = await admin.fetch("SELECT name, setting FROM pg_settings WHERE source = 'session'")

    await provision(admin, ACME, database.spec(files))

    assert (
        await admin.fetch("SELECT name, setting FROM pg_settings WHERE source = 'session'")
        == before
    )


async def test_a_failing_statement_is_named_and_the_ledger_tells_how_far_it_came(
    database: Database, tmp_path: Path
) -> None:
    files = migrations(tmp_path, flight=FLIGHT, unique=UNIQUE)
    admin = await database.connect()

    with pytest.raises(MigrationFailed, match=r"0002_unique.sql:3: could not create unique") as bad:
        await provision(admin, ACME, database.spec(files))

    assert bad.value.hint == "what stands before it stays; mend it and retry"
    (begun,) = (await ledgers(admin)).begun
    assert (begun.number, begun.name, begun.line) == (2, "unique", 3)
    assert (await admin.fetchval("SHOW search_path")) == '"$user", public'


async def test_an_index_that_was_left_half_built_is_not_taken_for_done(
    database: Database, tmp_path: Path
) -> None:
    spec = database.spec(migrations(tmp_path, flight=FLIGHT, unique=UNIQUE))
    admin = await database.connect()
    with pytest.raises(MigrationFailed):
        await provision(admin, ACME, spec)
    await admin.execute("DELETE FROM tenant_acme.flight WHERE id = 2")

    with pytest.raises(MigrationFailed, match="the index one of tenant_acme is not valid") as bad:
        await provision(admin, ACME, spec)
    await admin.execute("DROP INDEX tenant_acme.one")

    assert "DROP INDEX CONCURRENTLY IF EXISTS" in bad.value.hint
    assert (await provision(admin, ACME, spec)).app_version == 2
    assert (await ledgers(admin)).begun == []


async def test_two_sessions_do_not_run_the_same_file(database: Database, tmp_path: Path) -> None:
    spec = database.spec(migrations(tmp_path, flight=FLIGHT))
    first, second, holder = [await database.connect() for _ in range(3)]
    await provision(first, ACME, spec)
    spec = database.spec(migrations(tmp_path, index=INDEX))

    async with anyio.create_task_group() as group, holder.transaction():
        await holder.execute("LOCK TABLE tenant_acme.flight")
        group.start_soon(provision, first, ACME, spec)
        await until(lambda: holder.fetchval(lock(first)))
        with pytest.raises(LockNotHad, match="by another session"):
            await provision(second, ACME, spec)
        assert [each.alive for each in (await ledgers(second)).begun] == [True]

    assert (await provision(second, ACME, spec)).app_version == 2


@pytest.mark.parametrize("cut_at", range(24, 36))
@pytest.mark.slow
async def test_an_end_at_any_statement_is_gone_on_from(
    database: Database, tmp_path: Path, cut_at: int
) -> None:
    spec = database.spec(migrations(tmp_path, flight=FLIGHT, index=INDEX, last=LAST))
    admin = await database.connect()
    async with CuttingProxy(database.target, cut_at=cut_at, when="after").running() as proxy:
        broken = await database.connect(proxy.target)
        with pytest.raises(DatabaseUnavailable):
            await provision(broken, ACME, spec)
    # What was sent goes on at the server until it notices.
    others = "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()"
    await until(lambda: admin.fetchval(others))

    assert (await provision(admin, ACME, spec)).app_version == 3
    assert (await ledgers(admin)).begun == []
    assert await admin.fetchval("SELECT bool_and(indisvalid) FROM pg_index")


async def test_what_a_rehearsal_can_not_try_is_returned(database: Database, tmp_path: Path) -> None:
    files = migrations(tmp_path, flight=FLIGHT, index=INDEX, last=LAST)
    admin = await database.connect()

    async with rehearsal(admin, ACME, database.spec(files)) as left:
        assert await admin.fetchval("SELECT count(*) FROM tenant_acme.flight") == 2

    assert left == files[1:]
    assert await admin.fetchval("SELECT to_regnamespace('tenant_acme')") is None
    assert len(lacking(ACME, None, database.spec(files)).app) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("-- insula: no-transactoin\nSELECT 1", "there is no mark 'no-transactoin'"),
        ("-- insula: no-transaction\nCREATE TABLE t ()", "line 2: what tasks need rights on"),
        ("-- insula: no-transaction\nSELECT 1;\nCOMMIT", "line 3: COMMIT is not for a migration"),
    ],
)
def test_a_file_that_can_not_be_meant_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        migrations(tmp_path, flight=text)


def test_the_mark_counts_in_the_first_line_alone(tmp_path: Path) -> None:
    marks = [
        each.transactional
        for each in migrations(
            tmp_path, a="SELECT 1;\n-- insula: no-transaction", b="--insula: no-transaction\nSELECT"
        )
    ]
    assert marks == [True, False]
