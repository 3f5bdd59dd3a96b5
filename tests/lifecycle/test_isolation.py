"""What a tenant's logins try and may not, through real logins with real passwords."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Literal

import asyncpg
import pytest

from orchestrator.lifecycle.keys import InstallationKey
from orchestrator.model.errors import DatabaseRefused
from orchestrator.store.connect import Connection, Target
from orchestrator.store.embedded.binaries import find_binaries
from orchestrator.store.migrate import migrate_control
from tests.support.database import Database, migrations
from tests.support.server import server_binaries

Login = Literal["engine", "app"]
FLIGHT = "CREATE TABLE flight (id bigserial PRIMARY KEY, carrier text NOT NULL);"
SECRET = "the other tenant's secret"

# Each of these, under either login of acme, must be refused. {other}: a login of globex.
ATTEMPTS = {
    "another tenant's table": "SELECT * FROM tenant_globex.flight",
    "another tenant's runs": "SELECT * FROM tenant_globex.wf_run",
    "another tenant's fence": "UPDATE tenant_globex.wf_fence SET epoch = 99",
    "another tenant's rows": "INSERT INTO tenant_globex.flight (carrier) VALUES ('x')",
    "another tenant's sequence": "SELECT nextval('tenant_globex.flight_id_seq')",
    "the registry": "SELECT * FROM insula.tenant",
    "the registry, changed": "UPDATE insula.tenant SET state = 'removed'",
    "the leases": "UPDATE insula.lease SET epoch = 99",
    "the ledger of the control schema": "SELECT * FROM insula.migration",
    "the installation": "SELECT id FROM insula.installation",
    "becoming the other engine": "SET ROLE {other_engine}",
    "becoming the other application": "SET ROLE {other_app}",
    "becoming the superuser": "SET ROLE {admin}",
    "becoming the other session": "SET SESSION AUTHORIZATION {other_engine}",
    "a role in an expression": "SELECT set_config('role', '{other_engine}', false)",
    "a role in an expression, locally": "SELECT set_config('role', '{other_app}', true)",
    "a session in an expression": "SELECT set_config('session_authorization', '{admin}', false)",
    "a query in a function": "SELECT query_to_xml('TABLE tenant_globex.flight', true, true, '')",
    "a table in a function": "SELECT table_to_xml('tenant_globex.flight', true, true, '')",
    "a schema in a function": "SELECT schema_to_xml('tenant_globex', true, true, '')",
    "a code block": "DO $$ BEGIN PERFORM * FROM tenant_globex.flight; END $$",
    "a prepared statement": "PREPARE p AS SELECT * FROM tenant_globex.flight; EXECUTE p",
    "a cursor": "DECLARE c CURSOR WITH HOLD FOR TABLE tenant_globex.flight",
    "a copy": "COPY tenant_globex.flight TO STDOUT",
    "a lock": "LOCK TABLE tenant_globex.flight IN ACCESS SHARE MODE",
    "a search path": "SET search_path = tenant_globex; SELECT carrier FROM flight",
    "a file of the server": "SELECT pg_read_file('PG_VERSION')",
    "a program on the server": "COPY (SELECT 1) TO PROGRAM 'true'",
    "the passwords": "SELECT rolpassword FROM pg_authid",
    "a table of one's own": "CREATE TABLE tenant_acme.mine ()",
    "a schema of one's own": "CREATE SCHEMA mine",
    "a role of one's own": "CREATE ROLE mine",
    "another's password": "ALTER ROLE {other_engine} PASSWORD 'x'",
    "the other login's password": "ALTER ROLE {sibling} PASSWORD 'x'",
    "the other login's role": "SET ROLE {sibling}",
    "rights for oneself": "GRANT USAGE ON SCHEMA tenant_globex TO CURRENT_USER",
    "rights on the engine's tables": (
        "GRANT ALL ON tenant_acme.wf_fence TO CURRENT_USER; DELETE FROM tenant_acme.wf_fence"
    ),
    "more connections": "ALTER ROLE {myself} CONNECTION LIMIT 100",
    "membership": "GRANT {other_engine} TO {myself}",
    "an engine table, emptied": "TRUNCATE tenant_acme.wf_run",
    "an engine table, dropped": "DROP TABLE tenant_acme.wf_run",
    "the ledger, rewritten": "DELETE FROM tenant_acme.wf_migration",
    "a function that is the owner's": (
        "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql SECURITY DEFINER "
        "AS 'UPDATE tenant_globex.wf_fence SET epoch = 99'; SELECT pg_temp.f()"
    ),
}
REFUSALS = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidParameterValueError,  # set_config: no right to that role
    asyncpg.UndefinedTableError,  # a schema one may not use is passed over on the search path
    asyncpg.InvalidSchemaNameError,  # with a database each there is no such schema
)


@pytest.fixture
async def two_tenants(database: Database, tmp_path: Path) -> Database:
    """Yield acme and globex, alike, with a secret in each table of globex."""
    await two_tenants_in(database, tmp_path)
    return database


async def two_tenants_in(database: Database, directory: Path) -> None:
    """Make acme and globex, alike, with a secret in each table of globex."""
    files = migrations(directory, create_flight=FLIGHT)
    for tenant in ("acme", "globex"):
        await database.provision(tenant, files)
    admin = await database.connect()
    await admin.execute(f"INSERT INTO tenant_globex.flight (carrier) VALUES ($${SECRET}$$); ")


@pytest.mark.parametrize("login", ["engine", "app"])
@pytest.mark.requirement("T5.tenants")
async def test_every_way_out_is_closed(two_tenants: Database, login: Login) -> None:
    assert await tried(two_tenants, login) == []


async def tried(database: Database, login: Login) -> list[str]:
    """Return which of the attempts succeed under a login of acme."""
    mine, other = database.logins("acme"), database.logins("globex")
    names = {
        "other_engine": other.engine,
        "other_app": other.app,
        "myself": mine.engine if login == "engine" else mine.app,
        "sibling": mine.app if login == "engine" else mine.engine,
        "admin": database.target.user,
    }
    return await attacked(await database.connect(_way_in(database, login)), names)


async def attacked(connection: Connection, names: dict[str, str]) -> list[str]:
    """Return which of the attempts succeed for the login of `connection`."""
    open_doors: list[str] = []
    for attempt, text in ATTEMPTS.items():
        try:
            async with connection.transaction():
                await connection.execute(text.format(**names))
        except REFUSALS:
            continue
        open_doors.append(attempt)
    return open_doors


async def test_of_the_shared_catalogs_a_login_sees_names_and_no_contents(
    two_tenants: Database,
) -> None:
    admin = await two_tenants.connect()
    await admin.execute("ANALYZE tenant_globex.flight; SELECT lo_from_bytea(0, 'hush')")
    tenants_own = await two_tenants.connect(two_tenants.as_app("acme"))

    # docs/explanation/isolation.md says so.
    names = await tenants_own.fetchrow(
        """
        SELECT EXISTS (SELECT FROM pg_roles WHERE rolname LIKE '%\\_a\\_globex') AS roles,
               EXISTS (SELECT FROM pg_database WHERE datname = 'template1') AS databases,
               EXISTS (SELECT FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
                       WHERE relnamespace = 'tenant_globex'::regnamespace AND attname = 'carrier')
                   AS columns,
               EXISTS (SELECT FROM pg_stat_activity WHERE usename <> current_user) AS connected,
               EXISTS (SELECT FROM pg_stat_activity WHERE usename <> current_user
                       AND datname = current_database()
                       AND query <> '<insufficient privilege>') AS queries,
               EXISTS (SELECT FROM pg_stats WHERE schemaname = 'tenant_globex') AS statistics
        """
    )

    assert dict(names or {}) == {
        "roles": True,
        "databases": True,
        "columns": True,
        "connected": True,
        "queries": False,
        "statistics": False,
    }
    for hidden in ("pg_largeobject", "pg_authid", "pg_statistic"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await tenants_own.execute(f"SELECT * FROM {hidden}")
    other = await admin.fetchval("SELECT max(oid)::bigint FROM pg_largeobject_metadata")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await tenants_own.execute(f"SELECT lo_get({other})")


@pytest.mark.requirement("T5.engine")
async def test_the_application_can_not_touch_the_engines_tables(two_tenants: Database) -> None:
    connection = await two_tenants.connect(two_tenants.as_app("acme"))

    for table in ("wf_run", "wf_event", "wf_fence", "wf_migration"):
        for text in (
            f"SELECT * FROM {table}",
            f"DELETE FROM tenant_acme.{table}",
            f"INSERT INTO {table} DEFAULT VALUES",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(text)


async def test_the_engine_can_not_touch_the_applications_tables(two_tenants: Database) -> None:
    connection = await two_tenants.connect(two_tenants.as_engine("acme"))

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("SELECT * FROM tenant_acme.flight")


async def test_the_application_works_with_its_own_tables(two_tenants: Database) -> None:
    connection = await two_tenants.connect(two_tenants.as_app("acme"))

    await connection.execute("INSERT INTO flight (carrier) VALUES ('UA'), ('DL')")
    await connection.execute("DELETE FROM flight WHERE carrier = 'DL'")
    await connection.copy_records_to_table("flight", records=[("AA",)], columns=["carrier"])

    assert await connection.fetchval("SELECT string_agg(carrier, ' ' ORDER BY 1) FROM flight") in (
        "UA AA",
        "AA UA",
    )


@pytest.mark.parametrize("login", ["engine", "app"])
async def test_only_the_right_password_opens(two_tenants: Database, login: Login) -> None:
    database = two_tenants
    target = _way_in(database, login)
    wrong = [
        "",
        "x",
        database.key.password(target.user, 1),
        database.key.password(database.logins("globex").engine),
        InstallationKey(bytes(32)).password(target.user),
        database.key.verifier(target.user),
    ]

    for password in wrong:
        with pytest.raises(DatabaseRefused, match="password"):
            await database.connect(target.as_role(target.user, password))
    await database.connect(target)


@pytest.mark.parametrize("login", ["engine", "app"])
async def test_psql_as_a_tenant_sees_nothing_of_others(
    two_tenants: Database, login: Login, state_dir: Path
) -> None:
    target = _way_in(two_tenants, login)
    psql = find_binaries(server_binaries(), state_dir).program("psql")

    for text in (
        "SELECT carrier FROM tenant_globex.flight",
        "SELECT * FROM tenant_globex.wf_run",
        "SELECT * FROM insula.tenant",
        "\\copy tenant_globex.flight to stdout",
        f"SET ROLE {two_tenants.logins('globex').engine}",
    ):
        code, output = await _psql(psql, target, text)

        assert code != 0, text
        assert "permission denied" in output
        assert SECRET not in output

    code, output = await _psql(psql, target, "SELECT current_user")
    assert (code, output.strip()) == (0, target.user)


def _way_in(database: Database, login: Login) -> Target:
    return database.as_engine("acme") if login == "engine" else database.as_app("acme")


async def _psql(program: str, target: Target, text: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        program, "--no-psqlrc", "-At", "-v", "ON_ERROR_STOP=1", "-c", text, target.url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PGCONNECT_TIMEOUT": "10"},
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_no_lock_that_a_tenant_can_take_keeps_us_from_our_work(database: Database) -> None:
    await database.provision("acme")
    attacker = await database.connect(database.as_app("acme"))
    for key in ("insula tenant acme", "insula tenant globex", "insula database rights"):
        await attacker.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", key)
    await attacker.execute("SELECT pg_advisory_lock(hashtextextended('insula control schema', 0))")
    for statement in ("SELECT FROM insula.lock FOR UPDATE", "LOCK TABLE insula.migration"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with attacker.transaction():
                await attacker.execute(statement)
    admin = await database.connect()
    await admin.execute("SET statement_timeout = '2s'")
    # As an older version left it.
    await admin.execute("DROP TABLE insula.lock; DELETE FROM insula.migration WHERE number = 3")
    assert await migrate_control(admin) == 1
    await database.provision("globex")
    await database.provision("acme")
