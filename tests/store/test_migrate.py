"""Migrations: files, ledgers and the control schema."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from orchestrator.model.errors import (
    ConfigError,
    DatabaseRefused,
    MigrationChecksumMismatch,
    MigrationFailed,
    SchemaVersionAhead,
)
from orchestrator.store import connect, migrate
from orchestrator.store.connect import Target
from orchestrator.store.migrate import Applied, Migration
from tests.support.database import Database, migrations


def _migration(number: int, checksum: str = "c") -> Migration:
    return Migration(
        number=number, name=f"m{number}", sql="", checksum=checksum, file=f"{number:04}_m.sql"
    )


def test_files_are_read_in_their_order(tmp_path: Path) -> None:
    found = migrations(tmp_path, create="CREATE TABLE a ()", add="ALTER TABLE a ADD x int")
    (tmp_path / "README.md").write_text("not one of them")

    assert [(m.number, m.name) for m in found] == [(1, "create"), (2, "add")]
    assert migrate.read_migrations(tmp_path) == found


def test_line_ends_do_not_change_the_checksum(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_bytes(b"SELECT 1;\nSELECT 2;\n")
    (first,) = migrate.read_migrations(tmp_path)
    (tmp_path / "0001_a.sql").write_bytes(b"SELECT 1;\r\nSELECT 2;\r\n")

    assert migrate.read_migrations(tmp_path) == (first,)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"1_a.sql": b""}, "1_a.sql: a migration is called NNNN_name.sql"),
        ({"0001_Upper.sql": b""}, "0001_Upper.sql: a migration is called"),
        ({"0002_a.sql": b""}, "0002_a.sql: the number should be 0001"),
        ({"0001_a.sql": b"", "0003_b.sql": b""}, "0003_b.sql: the number should be 0002"),
        ({"0001_a.sql": b"", "0001_b.sql": b""}, "0001_b.sql: the number should be 0002"),
        ({"0001_a.sql": b"\xff"}, "0001_a.sql: it is not UTF-8"),
        ({"0001_a.sql": b"SELECT '\0'"}, "0001_a.sql: it has a NUL"),
        ({"0001_a.sql": b"SELECT 1;\n\nCOMMIT;"}, "0001_a.sql: line 3: COMMIT is not for"),
        ({"0001_a.sql": b"begin; SELECT 1; end"}, "0001_a.sql: line 1: BEGIN is not for"),
        ({"0001_a.sql": b"-- x\n ROLLBACK"}, "0001_a.sql: line 2: ROLLBACK is not for"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, files: dict[str, bytes], problem: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        migrate.read_migrations(tmp_path)

    assert problem in str(caught.value)


def test_every_wrong_file_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "one.sql").touch()
    (tmp_path / "two.sql").touch()

    with pytest.raises(ConfigError) as caught:
        migrate.read_migrations(tmp_path)

    assert len(caught.value.problems) == 2


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        migrate.read_migrations(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "text",
    [
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN; RETURN 1; END; $$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $x$ BEGIN; COMMIT; END $x$;",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN x THEN 1 END; END",
        "SELECT '; COMMIT'; -- ; COMMIT\n/* ; COMMIT; */ SELECT 1",
        "CREATE TABLE commits (begin_at date);",
    ],
)
def test_words_that_end_no_transaction_are_no_matter(tmp_path: Path, text: str) -> None:
    (tmp_path / "0001_a.sql").write_text(text)

    assert len(migrate.read_migrations(tmp_path)) == 1


@pytest.mark.parametrize(
    ("ledger", "known", "left"), [([], [1, 2], [1, 2]), ([1], [1, 2], [2]), ([1, 2], [1, 2], [])]
)
def test_what_is_pending_is_what_the_ledger_lacks(
    ledger: list[int], known: list[int], left: list[int]
) -> None:
    rows = [Applied(number, f"m{number}", "c") for number in ledger]

    missing = migrate.pending(rows, [_migration(number) for number in known], owner="acme")

    assert [m.number for m in missing] == left


def test_an_edited_file_is_refused() -> None:
    with pytest.raises(MigrationChecksumMismatch, match=r"0001_m.sql has been edited") as caught:
        migrate.pending([Applied(1, "m1", "before")], [_migration(1, "after")], owner="acme")

    assert caught.value.data["tenant"] == "acme"


def test_a_newer_ledger_is_refused() -> None:
    ledger = [Applied(1, "m1", "c"), Applied(2, "later", "c")]

    with pytest.raises(SchemaVersionAhead, match="0002_later, newer than the 1 known"):
        migrate.pending(ledger, [_migration(1)], owner="acme")


@pytest.fixture
async def empty(database: Database) -> Target:
    """Return a database in which the control schema was never made."""
    admin = await database.connect()
    await admin.execute("DROP SCHEMA insula CASCADE")
    return database.target


async def test_the_control_schema_is_made_once(database: Database, empty: Target) -> None:
    connection = await database.connect(empty)

    assert await migrate.migrate_control(connection) == len(migrate.control_migrations())
    assert await migrate.migrate_control(connection) == 0
    assert await connection.fetchval("SELECT count(*) FROM insula.installation") == 1


async def test_nodes_that_start_together_make_the_control_schema_once(
    database: Database, empty: Target
) -> None:
    applied: list[int] = []

    async def start() -> None:
        applied.append(await migrate.migrate_control(await database.connect(empty)))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(start)

    assert sorted(applied) == [0, 0, 0, 0, len(migrate.control_migrations())]


async def test_an_installation_is_one_row(database: Database) -> None:
    connection = await database.connect()

    with pytest.raises(Exception, match="installation_is_one_row"):
        await connection.execute("INSERT INTO insula.installation DEFAULT VALUES")


async def test_a_control_schema_from_the_future_is_refused(database: Database) -> None:
    connection = await database.connect()
    await connection.execute("INSERT INTO insula.migration VALUES (99, 'later', 'c')")

    with pytest.raises(SchemaVersionAhead, match="0099_later"):
        await migrate.migrate_control(connection)


async def test_a_schema_of_that_name_that_is_not_ours_is_left_alone(
    database: Database, empty: Target
) -> None:
    connection = await database.connect(empty)
    await connection.execute("CREATE SCHEMA insula; CREATE TABLE insula.theirs ()")

    with pytest.raises(MigrationFailed, match='schema "insula" already exists'):
        await migrate.migrate_control(connection)

    assert await connection.fetchval("SELECT to_regclass('insula.theirs') IS NOT NULL")


async def test_a_login_that_may_not_create_is_told_what_it_lacks(
    database: Database, empty: Target
) -> None:
    admin = await database.connect(empty)
    role = f"{database.role_prefix}_poor"
    await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    poor = await connect.connect(empty.as_role(role, "x"), application_name="insula test")

    with pytest.raises((DatabaseRefused, MigrationFailed), match="permission denied for database"):
        await migrate.migrate_control(poor)

    await poor.close()
