"""Provisioning: complete, repeatable, resumable, and never taking what is not ours."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import anyio
import pytest

from orchestrator.lifecycle import provision as provisioning
from orchestrator.lifecycle.keys import InstallationKey
from orchestrator.lifecycle.provision import ensure_provisioned, needs_provisioning, provision
from orchestrator.model.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    MigrationFailed,
    RoleConflict,
    SchemaConflict,
    SchemaVersionAhead,
    TenantNotFound,
)
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import Connection
from orchestrator.store.control import tenants
from orchestrator.store.migrate import engine_migrations
from tests.support.database import Database, migrations
from tests.support.proxy import CuttingProxy, When
from tests.support.wait import until

ACME = TenantId("acme")
ENGINE = len(engine_migrations())
FLIGHT = "CREATE TABLE flight (id bigserial PRIMARY KEY, carrier text NOT NULL);"

BOUNDS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")

RIGHTS = """
SELECT grantee::regrole::text, relname, string_agg(privilege_type, ' ' ORDER BY privilege_type)
FROM pg_class, aclexplode(relacl)
WHERE relnamespace = 'tenant_acme'::regnamespace AND grantee <> relowner
GROUP BY 1, 2 ORDER BY 1, 2
"""


async def test_a_tenant_gets_a_schema_and_two_logins(database: Database) -> None:
    done = await database.provision("acme")

    engine = await database.connect(database.as_engine("acme"))
    app = await database.connect(database.as_app("acme"))

    assert done.created
    assert (done.engine_version, done.app_version) == (ENGINE, 0)
    assert await engine.fetchval("SELECT epoch FROM tenant_acme.wf_fence") == 0
    assert await app.fetchval("SHOW search_path") == "tenant_acme, pg_temp"


async def test_rights_are_these_and_no_more(database: Database, tmp_path: Path) -> None:
    await database.provision("acme", migrations(tmp_path, create_flight=FLIGHT))
    admin = await database.connect()
    logins = database.logins("acme")

    rights = [tuple(row) for row in await admin.fetch(RIGHTS)]

    everything = "DELETE INSERT SELECT UPDATE"
    assert rights == [
        (logins.app, "flight", everything),
        (logins.app, "flight_id_seq", "SELECT USAGE"),
        (logins.app, "wf_cache", everything),
        (logins.engine, "wf_cache", "DELETE SELECT UPDATE"),
        (logins.engine, "wf_event", everything),
        (logins.engine, "wf_fence", "SELECT UPDATE"),
        (logins.engine, "wf_fire", everything),
        (logins.engine, "wf_key", "SELECT"),
        (logins.engine, "wf_migration", "SELECT"),
        (logins.engine, "wf_pause", everything),
        (logins.engine, "wf_quota", "SELECT UPDATE"),
        (logins.engine, "wf_run", everything),
        (logins.engine, "wf_schedule", everything),
        (logins.engine, "wf_secret", "SELECT"),
        *((logins.engine, each, everything) for each in ("wf_signal", "wf_usage")),
    ]
    assert await admin.fetchval("SELECT count(*) FROM pg_default_acl") == 0
    assert await admin.fetchval(
        "SELECT array_agg(grantee::regrole::text || ' ' || privilege_type "
        "ORDER BY grantee::regrole::text) FROM pg_namespace, aclexplode(nspacl) "
        "WHERE nspname = 'tenant_acme' AND grantee <> nspowner"
    ) == [f"{logins.app} USAGE", f"{logins.engine} USAGE"]


@pytest.mark.requirement("T5.bounds")
async def test_logins_are_bounded_and_marked(database: Database) -> None:
    await database.provision("acme")
    admin = await database.connect()

    rows = await admin.fetch(
        "SELECT rolcanlogin, rolinherit, rolsuper, rolcreaterole, rolcreatedb, rolreplication, "
        "rolbypassrls, rolconnlimit, shobj_description(oid, 'pg_authid') AS mark, rolconfig "
        "FROM pg_roles WHERE starts_with(rolname, $1) ORDER BY rolname",
        f"{database.role_prefix}_",
    )

    assert [tuple(row)[:7] for row in rows] == [(True, *[False] * 6)] * 2
    assert [row["rolconnlimit"] for row in rows] == [16, 4]
    assert {row["mark"] for row in rows} == {f"insula:{database.installation}"}
    path, idle = "search_path=tenant_acme, pg_temp", "idle_in_transaction_session_timeout=60s"
    assert [set(row["rolconfig"]) for row in rows] == [
        {path, idle, "statement_timeout=5min", "lock_timeout=60s"},
        {path, idle, "statement_timeout=60s", "lock_timeout=5s"},
    ]


@pytest.mark.requirement("T5.bounds")
async def test_a_session_of_either_login_is_bounded_by_the_server(database: Database) -> None:
    await database.provision("acme")
    engine = [await database.connect(database.as_engine("acme")) for _ in range(4)]
    app = await database.connect(database.as_app("acme"))

    with pytest.raises(DatabaseUnavailable, match="too many connections for role"):
        await database.connect(database.as_engine("acme"))
    seen = [[await each.fetchval(f"SHOW {bound}") for bound in BOUNDS] for each in (engine[0], app)]

    assert seen == [["1min", "5s", "1min"], ["5min", "1min", "1min"]]


async def test_only_the_verifier_of_a_password_is_sent(database: Database) -> None:
    await database.provision("acme")
    admin = await database.connect()
    logins = database.logins("acme")

    kept = await admin.fetchval(
        "SELECT rolpassword FROM pg_authid WHERE rolname = $1", logins.engine
    )

    assert kept == database.key.verifier(logins.engine)
    assert database.key.password(logins.engine) not in kept


@pytest.mark.requirement("T3.again")
async def test_provisioning_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    files = migrations(tmp_path, create_flight=FLIGHT)
    first = await database.provision("acme", files)
    admin = await database.connect()
    before = await _everything(admin)

    again = await database.provision("acme", files)

    assert (first.created, again.created) == (True, False)
    assert await _everything(admin) == before


async def test_what_a_role_changed_of_itself_is_put_back(database: Database) -> None:
    await database.provision("acme")
    app = await database.connect(database.as_app("acme"))
    role = database.logins("acme").app
    await app.execute(
        f"ALTER ROLE {role} PASSWORD 'mine'; ALTER ROLE {role} SET statement_timeout = 0; "
        f"ALTER ROLE {role} SET work_mem = '1GB'; "
        f"ALTER ROLE {role} IN DATABASE {database.target.database} SET search_path = public"
    )

    await database.provision("acme")

    fresh = await database.connect(database.as_app("acme"))
    assert await fresh.fetchval("SHOW statement_timeout") == "5min"
    assert await fresh.fetchval("SHOW search_path") == "tenant_acme, pg_temp"
    assert await fresh.fetchval("SHOW work_mem") == await (await database.connect()).fetchval(
        "SHOW work_mem"
    )


@pytest.mark.requirement("T3.race")
async def test_many_who_provision_side_by_side_make_one_tenant(
    database: Database, tmp_path: Path
) -> None:
    files = migrations(tmp_path, create_flight=FLIGHT, add_date="ALTER TABLE flight ADD day date;")
    created: list[bool] = []

    async def run() -> None:
        connection = await database.connect()
        done = await provision(connection, ACME, database.spec(files))
        created.append(done.created)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(run)

    assert sorted(created) == [False, False, False, True]
    admin = await database.connect()
    assert await admin.fetchval("SELECT count(*) FROM tenant_acme.wf_migration") == ENGINE + 2


async def test_many_tenants_are_made_side_by_side(database: Database) -> None:
    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(database.provision, f"t{number}")

    admin = await database.connect()
    assert (
        await admin.fetchval("SELECT count(*) FROM insula.tenant WHERE state = 'provisioned'") == 6
    )


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.requirement("T3.resumed")
@pytest.mark.slow
async def test_an_end_at_any_statement_leaves_nothing_half_done(
    database: Database, tmp_path: Path, when: When
) -> None:
    """Cut the connection at the first statement, then the second, until one call goes through."""
    spec = database.spec(
        migrations(tmp_path, create_flight=FLIGHT, add_date="ALTER TABLE flight ADD day date;")
    )
    admin = await database.connect()
    await provision(admin, TenantId("whole"), spec)
    whole = _renamed(await _everything(admin, "whole"), "whole")
    cut = 0
    finished = False
    while not finished:
        cut += 1
        tenant = TenantId(f"cut{cut}")
        async with CuttingProxy(database.target, cut_at=cut, when=when).running() as proxy:
            try:
                broken = await database.connect(proxy.target)
                await provision(broken, tenant, spec)
                finished = True
            except DatabaseUnavailable:
                half = await _everything(admin, tenant)
                assert not half or {"wf_run", "wf_event", "wf_fence", "wf_migration"} <= set(half)
        await provision(admin, tenant, spec)
        assert _renamed(await _everything(admin, tenant), tenant) == whole, f"cut at {cut}"

    assert cut > 20


async def test_a_role_of_another_installation_is_refused(database: Database) -> None:
    admin = await database.connect()
    role = database.logins("acme").app
    await admin.execute(f"CREATE ROLE {role}; COMMENT ON ROLE {role} IS 'insula:{UUID(int=1)}'")

    with pytest.raises(
        RoleConflict, match=f"'{role}' exists and belongs to another inst"
    ) as caught:
        await provision(admin, ACME, database.spec())

    assert "role_prefix" in caught.value.hint
    assert not await admin.fetchval("SELECT to_regnamespace('tenant_acme') IS NOT NULL")


@pytest.mark.requirement("T3.others")
async def test_a_role_of_somebody_else_is_refused(database: Database) -> None:
    admin = await database.connect()
    await admin.execute(f"CREATE ROLE {database.logins('acme').engine} LOGIN")

    with pytest.raises(RoleConflict, match="belongs to others"):
        await provision(admin, ACME, database.spec())


@pytest.mark.parametrize("power", ["CREATEDB", "BYPASSRLS", "SUPERUSER", "IN ROLE pg_monitor"])
async def test_a_role_that_was_given_power_is_refused(database: Database, power: str) -> None:
    await database.provision("acme")
    admin = await database.connect()
    role = database.logins("acme").app
    grant = f"GRANT pg_monitor TO {role}" if " " in power else f"ALTER ROLE {role} {power}"
    await admin.execute(grant)

    with pytest.raises(RoleConflict, match="rights that no tenant's login may have"):
        await provision(admin, ACME, database.spec())


@pytest.mark.requirement("T3.others")
async def test_a_schema_of_somebody_else_is_refused(database: Database) -> None:
    admin = await database.connect()
    await admin.execute("CREATE SCHEMA tenant_acme; CREATE TABLE tenant_acme.theirs ()")

    with pytest.raises(SchemaConflict, match="is not one of Insula's"):
        await provision(admin, ACME, database.spec())

    assert await admin.fetchval("SELECT to_regclass('tenant_acme.theirs') IS NOT NULL")
    assert not await admin.fetch(
        "SELECT FROM pg_roles WHERE starts_with(rolname, $1)", f"{database.role_prefix}_"
    )


async def test_an_empty_schema_made_for_us_is_taken(database: Database) -> None:
    admin = await database.connect()
    await admin.execute("CREATE SCHEMA tenant_acme")

    assert not (await provision(admin, ACME, database.spec())).created
    assert await admin.fetchval("SELECT count(*) FROM tenant_acme.wf_migration") == ENGINE


async def test_a_schema_from_the_future_is_refused(database: Database) -> None:
    await database.provision("acme")
    admin = await database.connect()
    await admin.execute("INSERT INTO tenant_acme.wf_migration VALUES ('engine', 8, 'later', 'c')")

    with pytest.raises(SchemaVersionAhead, match="0008_later"):
        await provision(admin, ACME, database.spec())


async def test_a_plain_admin_login_is_enough(database: Database, tmp_path: Path) -> None:
    plain = await _plain_admin(database, "CREATEROLE")

    spec = database.spec(migrations(tmp_path, create_flight=FLIGHT))

    await provision(plain, ACME, spec)
    await provision(plain, ACME, spec)

    engine = await database.connect(database.as_engine("acme"))
    app = await database.connect(database.as_app("acme"))
    assert await engine.fetchval("SELECT count(*) FROM tenant_acme.wf_run") == 0
    assert await app.execute("INSERT INTO flight (carrier) VALUES ('UA')") == "INSERT 0 1"


async def test_an_admin_login_without_rights_is_told_what_it_lacks(database: Database) -> None:
    poor = await _plain_admin(database, "NOCREATEROLE")

    with pytest.raises(DatabaseRefused, match="permission denied") as caught:
        await provision(poor, ACME, database.spec())

    assert "CREATEROLE" in caught.value.hint


async def test_where_nobody_may_connect_the_logins_are_granted_it(database: Database) -> None:
    admin = await database.connect()
    await admin.execute(f"REVOKE CONNECT ON DATABASE {database.target.database} FROM PUBLIC")

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(database.provision, f"t{number}")

    for number in range(4):
        await database.connect(database.as_app(f"t{number}"))


async def test_the_longest_id_fits(database: Database) -> None:
    tenant = "a" * (63 - len(database.role_prefix) - len("_e_"))

    await database.provision(tenant)

    engine = await database.connect(database.as_engine(tenant))
    assert await engine.fetchval(f"SELECT epoch FROM tenant_{tenant}.wf_fence") == 0


async def test_a_table_in_use_puts_a_migration_off(database: Database, tmp_path: Path) -> None:
    await database.provision("acme", migrations(tmp_path, create_flight=FLIGHT))
    files = migrations(
        tmp_path, add="SET LOCAL lock_timeout = '50ms'; ALTER TABLE flight ADD day date;"
    )
    holder = await database.connect()
    async with holder.transaction():
        await holder.execute("LOCK TABLE tenant_acme.flight")

        with pytest.raises(DatabaseUnavailable, match=r"0002_add.sql can not be applied .* now"):
            await database.provision("acme", files)

    assert (await database.provision("acme", files)).app_version == 2


async def test_who_waits_for_another_that_provisions_gives_up_in_the_end(
    database: Database,
) -> None:
    holder = await database.connect()
    waiting = await database.connect()
    async with holder.transaction():
        await holder.execute("INSERT INTO insula.lock (name) VALUES ('tenant acme')")
        async with anyio.create_task_group() as group:
            group.start_soon(_gives_up, waiting, database)
            blocked = "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)"
            await until(lambda: holder.fetchval(blocked, waiting.get_server_pid()))
            await holder.execute("SELECT pg_cancel_backend($1)", waiting.get_server_pid())


async def _gives_up(connection: Connection, database: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="can not be provisioned now"):
        await provision(connection, ACME, database.spec())


async def test_an_up_to_date_tenant_costs_one_query(database: Database) -> None:
    admin = await database.connect()
    await tenants.declare(admin, [(ACME, "{}")])
    made = await ensure_provisioned(admin, admin, ACME, database.spec())
    proxy = CuttingProxy(database.target)
    async with proxy.running():
        counted = await database.connect(proxy.target)
        row = await ensure_provisioned(counted, counted, ACME, database.spec())

    assert proxy.statements == 1
    assert row == made
    assert (row.state, row.engine_version) == ("provisioned", ENGINE)


async def test_an_undeclared_tenant_is_not_provisioned(database: Database) -> None:
    admin = await database.connect()

    with pytest.raises(TenantNotFound):
        await ensure_provisioned(admin, admin, ACME, database.spec())

    assert not await admin.fetchval("SELECT to_regnamespace('tenant_acme') IS NOT NULL")


async def test_a_changed_key_prefix_or_file_needs_provisioning(
    database: Database, tmp_path: Path
) -> None:
    admin = await database.connect()
    await tenants.declare(admin, [(ACME, "{}")])
    row = await ensure_provisioned(admin, admin, ACME, database.spec())
    spec = database.spec()
    other_key = InstallationKey(bytes(32))

    assert not needs_provisioning(row, spec)
    for changed in (
        provisioning.ProvisionSpec(
            role_prefix="other", installation=spec.installation, key=spec.key
        ),
        provisioning.ProvisionSpec(
            role_prefix=spec.role_prefix, installation=spec.installation, key=other_key
        ),
        database.spec(migrations(tmp_path, create_flight=FLIGHT)),
    ):
        assert needs_provisioning(row, changed)


async def test_with_a_new_key_the_old_passwords_end(database: Database) -> None:
    await database.provision("acme")
    old = database.as_engine("acme")
    database.key = InstallationKey(bytes(32))

    await database.provision("acme")

    await database.connect(database.as_engine("acme"))
    with pytest.raises(DatabaseRefused, match="password authentication failed"):
        await database.connect(old)


@pytest.mark.requirement("T4.failure")
async def test_a_failing_migration_names_file_line_and_error_and_leaves_nothing(
    database: Database, tmp_path: Path
) -> None:
    files = migrations(
        tmp_path,
        create_flight=FLIGHT,
        broken="CREATE TABLE half ();\nCREATE INDEX ON flight (id);\nSELECT\n  nothing FROM flight",
    )

    with pytest.raises(MigrationFailed) as caught:
        await database.provision("acme", files)

    assert '0002_broken.sql:4: column "nothing" does not exist' in str(caught.value)
    assert (caught.value.data["sqlstate"], caught.value.data["position"]) == ("42703", 61)
    admin = await database.connect()
    assert set(await _everything(admin)) == {
        "flight", "flight_id_seq", "flight_pkey", "ledger",
        "wf_cache", "wf_cache_pkey", "wf_event", "wf_event_pkey",
        "wf_fence", "wf_fence_pkey", "wf_fire", "wf_fire_held", "wf_fire_pkey",
        "wf_key", "wf_key_current", "wf_key_pkey", "wf_migration", "wf_migration_pkey",
        "wf_pause", "wf_pause_pkey", "wf_quota",
        "wf_run", "wf_run_by_key", "wf_run_children", "wf_run_dead", "wf_run_due", "wf_run_held",
        "wf_run_pkey", "wf_run_queued", "wf_run_scheduled", "wf_schedule", "wf_schedule_pkey",
        "wf_secret", "wf_secret_pkey",
        "wf_signal", "wf_signal_by_key", "wf_signal_pkey", "wf_usage",
    }  # fmt: skip
    assert await admin.fetchval("SELECT count(*) FROM pg_default_acl") == 0

    (tmp_path / "0002_broken.sql").write_text("CREATE TABLE half ();")
    assert (await database.provision("acme", migrations(tmp_path))).app_version == 2


async def _plain_admin(database: Database, rights: str) -> Connection:
    """Return a login that may make schemas in this database and, perhaps, roles.

    It has the right on the locks that it would have, had it made the control schema itself.
    """
    admin = await database.connect()
    role = f"{database.role_prefix}_admin"
    await admin.execute(f"CREATE ROLE {role} LOGIN {rights} PASSWORD 'x'")
    await admin.execute(f"GRANT CREATE ON DATABASE {database.target.database} TO {role}")
    await admin.execute(f"GRANT USAGE ON SCHEMA insula TO {role}")
    await admin.execute(
        f"GRANT SELECT, INSERT, UPDATE ON insula.lock TO {role};"
        f"GRANT SELECT ON insula.tenant TO {role}"
    )
    target = database.target.as_role(role, "x")
    return await database.connect(target)


async def _everything(connection: Connection, tenant: str = "acme") -> dict[str, str]:
    """Return every relation of the tenant's schema with its rights, and the ledgers."""
    rows = await connection.fetch(
        "SELECT relname, relacl::text FROM pg_class WHERE relnamespace = "
        "(SELECT oid FROM pg_namespace WHERE nspname = $1) ORDER BY 1",
        f"tenant_{tenant}",
    )
    found = {name: rights or "" for name, rights in rows}
    if "wf_migration" in found:
        found["ledger"] = await connection.fetchval(
            "SELECT string_agg(ledger || number || name, ' ' ORDER BY ledger, number) "
            f"FROM tenant_{tenant}.wf_migration"
        )
    return found


def _renamed(found: dict[str, str], tenant: str) -> dict[str, str]:
    return {name: text.replace(f"_{tenant}=", "_…=") for name, text in found.items()}
