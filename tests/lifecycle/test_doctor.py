"""The examination of an installation: what it finds, and that it changes nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.model.errors import TenantNotFound
from orchestrator.model.findings import Severity
from orchestrator.store.connect import Connection
from orchestrator.store.migrate import Migration
from tests.support.database import Database, migrations
from tests.support.examination import findings

FLIGHT = """
CREATE TYPE tail AS ENUM ('red', 'blue');
CREATE TABLE carrier (code text PRIMARY KEY, name text CONSTRAINT named CHECK (name <> ''));
CREATE INDEX carrier_by_name ON carrier (name);
CREATE TABLE flight (
    id bigserial PRIMARY KEY,
    carrier text NOT NULL REFERENCES carrier,
    delay int CHECK (delay >= 0),
    tail tail
);
CREATE INDEX flight_by_delay ON flight (delay);
CREATE VIEW late AS SELECT id FROM flight WHERE delay > 60;
CREATE FUNCTION worst() RETURNS int LANGUAGE sql AS 'SELECT max(delay) FROM flight';
"""
CONCURRENT = """-- insula: no-transaction
CREATE INDEX CONCURRENTLY flight_by_carrier ON flight (carrier);
"""


@pytest.fixture
async def admin(database: Database) -> Connection:
    """Return a connection of the admin's."""
    return await database.connect()


async def differences(database: Database, files: tuple[Migration, ...]) -> list[tuple[str, str]]:
    """Return check and sentence of what is found of acme."""
    return [
        (each.check, each.what)
        for each in await findings(database, app_migrations=files, tenants=("acme",))
    ]


async def test_tenants_that_are_as_they_should_be_are_no_finding(
    database: Database, tmp_path: Path
) -> None:
    files = migrations(tmp_path, flight=FLIGHT, concurrent=CONCURRENT)
    for tenant in ("acme", "globex", "a"):
        await database.provision(tenant, files)

    assert await findings(database, app_migrations=files, tenants=("acme", "globex", "a")) == []


BY_HAND = """
DROP INDEX flight_by_delay;
DROP VIEW late;
DROP FUNCTION worst();
DROP TABLE wf_pause;
ALTER TABLE flight DROP CONSTRAINT flight_delay_check, DROP COLUMN tail;
ALTER TABLE flight ALTER carrier DROP NOT NULL;
ALTER TYPE tail ADD VALUE 'green';
GRANT SELECT ON wf_run TO PUBLIC;
DROP INDEX carrier_by_name;
CREATE UNIQUE INDEX carrier_by_name ON carrier (name);
ALTER TABLE carrier DROP CONSTRAINT named, ADD CONSTRAINT named CHECK (name <> '-');
ALTER TABLE carrier ADD CONSTRAINT short CHECK (length(code) = 2);
ALTER TABLE flight ADD extra int;
CREATE TABLE more (id int PRIMARY KEY);
CREATE INDEX again ON flight (carrier);
"""


@pytest.mark.requirement("T4.drift")
async def test_what_somebody_changed_by_hand_is_named(
    database: Database, admin: Connection, tmp_path: Path
) -> None:
    files = migrations(tmp_path, flight=FLIGHT)
    await database.provision("acme", files)
    for change in BY_HAND.split(";"):
        await admin.execute(f"SET search_path = tenant_acme; {change}")

    found = await differences(database, files)

    assert [(check, what.partition(":")[0]) for check, what in found] == [
        ("drift.missing", "column flight.tail is missing"),
        ("drift.missing", "constraint flight.flight_delay_check is missing"),
        ("drift.missing", "function worst() is missing"),
        ("drift.missing", "index flight_by_delay is missing"),
        ("drift.missing", "table wf_pause is missing"),
        ("drift.missing", "view late is missing"),
        ("drift.changed", "column flight.carrier is otherwise"),
        ("drift.changed", "constraint carrier.named is otherwise"),
        ("drift.changed", "index carrier_by_name is otherwise"),
        ("drift.changed", "table wf_run is otherwise"),
        ("drift.changed", "type tail is otherwise"),
        ("drift.extra", "column flight.extra is extra"),
        ("drift.extra", "constraint carrier.short is extra"),
        ("drift.extra", "index again is extra"),
        ("drift.extra", "table more is extra"),
    ]
    said = dict(what.split(": ", 1) for _, what in found)
    assert said["constraint flight.flight_delay_check is missing"] == "CHECK ((delay >= 0))"
    assert said["column flight.carrier is otherwise"] == "text; it should be: text not null"
    assert said["type tail is otherwise"] == "'red', 'blue', 'green'; it should be: 'red', 'blue'"


async def test_a_login_that_was_given_more_is_named(database: Database, admin: Connection) -> None:
    await database.provision("acme")
    login = database.logins("acme").app
    await admin.execute(
        f"ALTER ROLE {login} CREATEDB CONNECTION LIMIT 99; ALTER ROLE {login} SET work_mem = '1GB';"
        f"GRANT pg_read_all_data TO {login}"
    )

    ((check, what),) = await differences(database, ())

    assert check == "drift.changed"
    assert what.startswith("role app is otherwise: createdb connections 99")
    assert "work_mem=1GB" in what


async def test_a_tenant_that_is_behind_is_compared_with_what_it_should_have_by_now(
    database: Database, admin: Connection, tmp_path: Path
) -> None:
    await database.provision("acme", migrations(tmp_path, flight=FLIGHT))
    both = migrations(tmp_path, concurrent=CONCURRENT)
    await database.provision("globex", both)
    await admin.execute("DROP INDEX tenant_globex.flight_by_carrier")

    found = await findings(database, app_migrations=both, tenants=("acme", "globex"))

    assert [(each.severity, each.check, each.subject) for each in found] == [
        (Severity.ERROR, "drift.missing", "tenant globex"),
        (Severity.NOTICE, "migration.behind", "tenant acme"),
    ]


async def test_a_schema_that_is_older_than_its_row_says_is_named(
    database: Database, admin: Connection, tmp_path: Path
) -> None:
    files = migrations(tmp_path, flight=FLIGHT, concurrent=CONCURRENT)
    await database.provision("acme", files)
    await admin.execute(
        "DROP INDEX tenant_acme.flight_by_carrier;"
        "DELETE FROM tenant_acme.wf_migration WHERE ledger = 'app' AND number = 2"
    )

    (found,) = await findings(database, app_migrations=files, tenants=("acme",))

    assert (found.severity, found.mend) == (Severity.WARNING, "insula migrate --tenant acme")
    assert found.what == "it lacks 0002_concurrent, and the registry says it has it"


async def test_edited_and_unknown_migrations_are_named(database: Database, tmp_path: Path) -> None:
    files = migrations(tmp_path, flight=FLIGHT, concurrent=CONCURRENT)
    await database.provision("acme", files)
    edited = migrations(tmp_path / "other", flight="SELECT 1", concurrent=CONCURRENT)

    assert [check for check, _ in await differences(database, files[:1])] == [
        "migration.schema_version_ahead"
    ]
    assert [check for check, _ in await differences(database, edited)] == [
        "migration.migration_checksum_mismatch"
    ]


async def test_a_migration_that_stopped_in_the_middle_is_named_with_its_line(
    database: Database, admin: Connection, tmp_path: Path
) -> None:
    files = migrations(tmp_path, flight=FLIGHT)
    await database.provision("acme", files)
    await admin.execute(
        "INSERT INTO tenant_acme.wf_migration (ledger, number, name, checksum, line, backend)"
        " VALUES ('begun', 2, 'index', '', 3, 1)"
    )

    ((check, what),) = await differences(database, files)

    assert check == "migration.interrupted"
    assert what.startswith("migration 0002_index began at ")
    assert "stopped at the statement of line 3" in what


async def test_an_index_that_is_not_valid_is_named(
    database: Database, admin: Connection, tmp_path: Path
) -> None:
    files = migrations(tmp_path, flight=FLIGHT)
    await database.provision("acme", files)
    await admin.execute(
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'tenant_acme.flight_by_delay'::regclass"
    )

    ((check, what),) = await differences(database, files)

    assert (check, what[:47]) == (
        "index.invalid",
        "index flight_by_delay of table flight is not va",
    )


async def test_what_belongs_to_no_tenant_is_named(
    database: Database, admin: Connection, tmp_path: Path
) -> None:
    await database.provision("acme")
    await database.provision("globex")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "acme.jsonl.gz.part").touch()
    await admin.execute(
        "DELETE FROM insula.tenant WHERE id = 'acme'; DROP SCHEMA tenant_globex CASCADE"
    )

    found = {(each.check, each.subject) for each in await findings(database, state_dir=tmp_path)}

    logins = database.logins("acme")
    assert found >= {
        ("schema.orphan", "schema tenant_acme"),
        ("role.orphan", f"role {logins.engine}"),
        ("role.orphan", f"role {logins.app}"),
        ("schema.gone", "tenant globex"),
        ("file.partial", f"file {tmp_path / 'results' / 'acme.jsonl.gz.part'}"),
    }


async def test_the_server_and_what_holds_it_up_are_looked_at(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.lifecycle.doctor.server.IDLE", timedelta())
    idle = await database.connect()
    await idle.execute("BEGIN; SELECT 1")

    found = {each.check: each for each in await findings(database)}

    # The server of the tests is made to be fast.
    assert found["setting.fsync"].severity is Severity.ERROR
    assert found["setting.synchronous_commit"].mend == "set synchronous_commit = on"
    assert found["session.idle"].subject == f"session {idle.get_server_pid()}"
    assert found["login.superuser"].severity is Severity.NOTICE
    ours = await findings(database, door=None)
    assert "login.superuser" not in {each.check for each in ours}


async def test_what_tenants_that_come_and_go_leave_in_the_registry_is_told_of(
    database: Database, admin: Connection
) -> None:
    await admin.execute(
        "INSERT INTO insula.lock (name) SELECT n FROM generate_series(1, 10001) AS n;"
        "DELETE FROM insula.lock; SELECT pg_stat_force_next_flush()"
    )

    subject = "schema insula"
    (found,) = [each for each in await findings(database) if each.subject == subject]

    assert (found.check, found.severity) == ("table.bloated", Severity.WARNING)
    assert "table lock has 10,001 dead rows and 0 others" in found.what
    assert found.mend.endswith("VACUUM insula.lock")


async def test_a_login_without_a_right_is_named(database: Database, admin: Connection) -> None:
    role = f"{database.role_prefix}_weak"
    await admin.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD 'weak';"
        f"GRANT USAGE ON SCHEMA insula TO {role};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA insula TO {role}"
    )
    weak = await database.connect(database.target.as_role(role, "weak"))

    found = await findings(database, login=weak)

    assert [each.what for each in found if each.check == "login.rights"] == [
        "the login of [database] url has no CREATEROLE: no tenant can be made",
        "the login of [database] url has no CREATE on the database: no tenant can be made",
    ]


async def test_an_examination_changes_nothing(
    database: Database, admin: Connection, tmp_path: Path
) -> None:
    files = migrations(tmp_path, flight=FLIGHT)
    await database.provision("acme", files)
    everything = (
        "SELECT (SELECT count(*) FROM pg_namespace), (SELECT count(*) FROM pg_class),"
        " (SELECT count(*) FROM pg_roles), (SELECT count(*) FROM insula.lock)"
    )
    before = await admin.fetchrow(everything)

    await findings(database, app_migrations=files)

    assert await admin.fetchrow(everything) == before


async def test_a_tenant_that_is_not_there_is_refused_and_an_alias_is_known(
    database: Database,
) -> None:
    await database.provision("acme")

    assert await findings(database, tenants=("Acme-Corp",), aliases={"acme-corp": "acme"}) == []
    with pytest.raises(TenantNotFound):
        await findings(database, tenants=("umbrella",))


async def test_a_database_without_a_control_schema_is_told(
    database: Database, admin: Connection
) -> None:
    await admin.execute("DROP SCHEMA insula CASCADE")

    found = {each.check: each for each in await findings(database)}

    assert found["control.missing"].mend == "insula serve makes it"
