"""More that a tenant's logins try: the server itself, others' work, and names that are not ours."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from orchestrator.store.connect import Connection
from orchestrator.store.control import wake
from orchestrator.store.migrate import read_migrations
from orchestrator.store.tenant.fence import MOVED
from tests.lifecycle.test_isolation import REFUSALS, SECRET, Login, two_tenants
from tests.support.database import Database

__all__ = ["two_tenants"]

# Each of these, under either login of acme, must be refused. {other} and {mine}: logins.
ATTEMPTS = {
    # files and programs of the server
    "a directory": "SELECT pg_ls_dir('.')",
    "the log": "SELECT pg_ls_logdir()",
    "the age of a file": "SELECT pg_stat_file('PG_VERSION')",
    "bytes of a file": "SELECT pg_read_binary_file('PG_VERSION')",
    "a file as rows": "CREATE TEMP TABLE t (line text); COPY t FROM '/etc/passwd'",
    "rows as a file": "COPY (SELECT 1) TO '/tmp/insula-attack'",
    "rows of a program": "CREATE TEMP TABLE t (line text); COPY t FROM PROGRAM 'id'",
    "a file as a large object": "SELECT lo_import('/etc/passwd')",
    "a large object as a file": "SELECT lo_export(1, '/tmp/insula-attack')",
    "a library": "LOAD '/tmp/insula-attack.so'",
    "a function in C": (
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE c AS '/tmp/insula-attack', 'f'"
    ),
    # the server's settings and work
    "a setting of the server": "ALTER SYSTEM SET work_mem = '1GB'",
    "a setting of the database": "ALTER DATABASE {database} SET work_mem = '1GB'",
    "a setting of another role": "ALTER ROLE {other} SET statement_timeout = 1",
    "triggers that do not fire": "SET session_replication_role = replica",
    "a reload": "SELECT pg_reload_conf()",
    "the access rules": "SELECT * FROM pg_hba_file_rules",
    "the configuration files": "SELECT * FROM pg_file_settings",
    "another's session, ended": "SELECT pg_terminate_backend({pid})",
    "another's statement, ended": "SELECT pg_cancel_backend({pid})",
    "the log of changes": "SELECT pg_create_logical_replication_slot('s', 'pgoutput')",
    "a publication": "CREATE PUBLICATION p FOR TABLE tenant_globex.flight",
    "an extension": "CREATE EXTENSION dblink",
    "a language": "CREATE LANGUAGE plpython3u",
    "an event trigger": "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
    "a server elsewhere": "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw",
    # what belongs to others
    "another's ownership": "REASSIGN OWNED BY {other} TO CURRENT_USER",
    "another's objects": "DROP OWNED BY {other}",
    "a comment on another": "COMMENT ON ROLE {other} IS 'insula:mine'",
    "one's own mark": "COMMENT ON ROLE {mine} IS 'another installation'",
    "another's plan": "EXPLAIN ANALYZE SELECT * FROM tenant_globex.flight",
    "another's table in a view": "CREATE TEMP VIEW v AS TABLE tenant_globex.flight; TABLE v",
    "another's rows in a table": "CREATE TEMP TABLE t AS TABLE tenant_globex.flight",
    "another's shape": "CREATE TEMP TABLE t (LIKE tenant_globex.flight)",
    "another's key": "CREATE TEMP TABLE t (f bigint REFERENCES tenant_globex.flight)",
    "another's sequence": "SELECT last_value FROM tenant_globex.flight_id_seq",
    "another's fence, as its function": "SELECT tenant_globex.wf_owned(1)",
    "another's completion": (
        "SELECT tenant_globex.wf_complete("
        "1, gen_random_uuid(), '', '', gen_random_uuid(), 0, '[]', 0)"
    ),
    "another's secrets": "TABLE tenant_globex.wf_secret",
    "another's keys": "TABLE tenant_globex.wf_key",
    "another's cache": "TABLE tenant_globex.wf_cache",
    "another's database": "SELECT database_to_xml(true, true, '') FROM tenant_globex.flight",
    # the control schema
    "the keys of tenants": "TABLE insula.tenant_key",
    "an erasure": "UPDATE insula.tenant_key SET wrapped = NULL, erased_at = now()",
    "what others have used": "TABLE insula.usage",
    "a count of another's": "SELECT insula.count_submitted('tenant_globex', 1, 1)",
    "the tenants": "TABLE insula.tenant",
    "the audit": "TABLE insula.audit",
    "what values others have": "SELECT stavalues1 FROM pg_statistic LIMIT 1",
    "a run of another's": "SELECT insula.submit(tenant => 'globex', workflow => 'w')",
    "a run of one's own past the daemon": "SELECT insula.submit(tenant => 'acme', workflow => 'w')",
    "another's wake": "INSERT INTO insula.wake (tenant, due_at) VALUES ('globex', now())",
    "the wakes": "TABLE insula.wake",
    "a trigger on our table": (
        "CREATE TRIGGER t AFTER INSERT ON tenant_acme.wf_event EXECUTE FUNCTION f()"
    ),
    "a rule on our table": "CREATE RULE r AS ON INSERT TO tenant_acme.wf_event DO INSTEAD NOTHING",
    "the owner of our function": "ALTER FUNCTION tenant_acme.wf_owned OWNER TO {mine}",
    "another body for it": (
        "CREATE OR REPLACE FUNCTION tenant_acme.wf_owned(epoch bigint) RETURNS void "
        "LANGUAGE sql AS 'SELECT'"
    ),
    "another path for it": "ALTER FUNCTION tenant_acme.wf_owned SET search_path = pg_temp",
}
MORE_REFUSALS = (
    *REFUSALS,
    asyncpg.UndefinedFileError,  # an extension that the server does not bring
    asyncpg.UndefinedObjectError,
    asyncpg.UndefinedFunctionError,  # in a schema one may not use
    asyncpg.FeatureNotSupportedError,
)


@pytest.mark.parametrize("login", ["engine", "app"])
@pytest.mark.requirement("T5.server")
async def test_the_server_and_what_belongs_to_others_is_out_of_reach(
    two_tenants: Database, login: Login
) -> None:
    assert await beyond(two_tenants, login) == []


async def beyond(database: Database, login: Login) -> list[str]:
    """Return which of the attempts succeed under a login of acme; globex works on."""
    mine, other = database.logins("acme"), database.logins("globex")
    victim = await database.connect(database.as_engine("globex"))
    names = {
        "mine": mine.engine if login == "engine" else mine.app,
        "other": other.engine,
        "database": database.target.database,
        "pid": str(victim.get_server_pid()),
    }
    way_in = database.as_engine("acme") if login == "engine" else database.as_app("acme")
    connection = await database.connect(way_in)
    open_doors: list[str] = []

    for attempt, text in ATTEMPTS.items():
        try:
            await connection.execute(text.format(**names))
        except MORE_REFUSALS:
            continue
        open_doors.append(attempt)
    assert await victim.fetchval("SELECT 1") == 1
    return open_doors


# What a task may make in its session, named as what our functions use.
SHADOWS = """
CREATE TEMP TABLE wf_fence (epoch bigint, seal uuid);
INSERT INTO pg_temp.wf_fence VALUES (999, '00000000-0000-0000-0000-000000000000');
CREATE TEMP TABLE wf_event (LIKE pg_temp.wf_fence);
CREATE FUNCTION pg_temp.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$SELECT 'm'$$;
CREATE FUNCTION pg_temp.always(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR pg_temp.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = pg_temp.always);
SET search_path = pg_temp, pg_catalog;
"""


async def test_temporary_objects_stand_in_for_nothing_of_ours(two_tenants: Database) -> None:
    connection = await two_tenants.connect(two_tenants.as_app("acme"))
    await connection.execute(SHADOWS)
    nobody, run = "'00000000-0000-0000-0000-000000000000'", "gen_random_uuid()"

    for call in (
        "wf_owned(999)",
        f"wf_complete(999, {nobody}, '', 'm', {run}, 0, '[]', 0)",
        f"wf_completed(999, {nobody}, {run}, 0)",
    ):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await connection.execute(f"SELECT tenant_acme.{call}")
        assert refused.value.sqlstate == MOVED

    admin = await two_tenants.connect()
    assert await admin.fetchval("SELECT count(*) FROM tenant_acme.wf_event") == 0


DEFINERS = """
SELECT proname::text, proconfig, array_agg(
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END) FILTER (
    WHERE grantee <> proowner) AS callers
FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
WHERE prosecdef AND pronamespace IN ('tenant_acme'::regnamespace, 'insula'::regnamespace)
GROUP BY pg_proc.oid, proname, proconfig ORDER BY proname
"""


async def test_what_runs_as_its_owner_looks_nowhere_else_and_is_called_by_few(
    two_tenants: Database,
) -> None:
    admin, app = await two_tenants.connect(), two_tenants.logins("acme").app

    found = await admin.fetch(DEFINERS)

    assert {each["proname"]: each["callers"] for each in found} == {
        "count_at_commit": None,
        "submit": None,
        **{name: [app] for name in ("wf_complete", "wf_completed", "wf_owned")},
    }
    assert {tuple(each["proconfig"]) for each in found} == {("search_path=pg_catalog, pg_temp",)}


async def test_a_function_that_another_would_call_runs_as_who_calls_it(
    two_tenants: Database,
) -> None:
    """A login may make functions in its temporary schema alone, and they die with its session."""
    attacker = await two_tenants.connect(two_tenants.as_app("acme"))
    await attacker.execute(
        "CREATE FUNCTION pg_temp.steal() RETURNS text SECURITY DEFINER LANGUAGE sql "
        "AS 'SELECT current_user::text'"
    )
    schema = await attacker.fetchval("SELECT pg_my_temp_schema()::regnamespace::text")
    victim = await two_tenants.connect(two_tenants.as_app("globex"))

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await victim.execute(f"SELECT {schema}.steal()")

    for place in ("tenant_acme", "tenant_globex", "public", "insula"):
        with pytest.raises(asyncpg.PostgresError, match=r"permission denied|does not exist"):
            await attacker.execute(
                f"CREATE FUNCTION {place}.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"
            )


async def test_what_a_login_sets_for_itself_ends_when_it_is_provisioned_again(
    two_tenants: Database, tmp_path: Path
) -> None:
    for way_in in (two_tenants.as_app("acme"), two_tenants.as_engine("acme")):
        connection = await two_tenants.connect(way_in)
        for setting in ("search_path = tenant_globex", "default_transaction_read_only = on"):
            await connection.execute(f"ALTER ROLE CURRENT_USER SET {setting}")

    await two_tenants.provision("acme", read_migrations(tmp_path))

    for way_in in (two_tenants.as_app("acme"), two_tenants.as_engine("acme")):
        connection = await two_tenants.connect(way_in)
        assert await connection.fetchval("SHOW search_path") == "tenant_acme, pg_temp"
        assert await connection.fetchval("SHOW default_transaction_read_only") == "off"


async def test_a_large_object_of_another_is_neither_read_nor_written(
    two_tenants: Database,
) -> None:
    victim = await two_tenants.connect(two_tenants.as_app("globex"))
    attacker = await two_tenants.connect(two_tenants.as_app("acme"))
    made = await victim.fetchval("SELECT lo_from_bytea(0, $1)::bigint", SECRET.encode())

    for call in (
        f"lo_get({made})",
        f"loread(lo_open({made}, 262144), 10)",
        f"lo_put({made}, 0, 'x')",
        f"lo_unlink({made})",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await attacker.execute(f"SELECT {call}")

    assert await victim.fetchval(f"SELECT lo_get({made})") == SECRET.encode()


async def test_locks_and_notices_of_one_move_nothing_of_another(two_tenants: Database) -> None:
    attacker = await two_tenants.connect(two_tenants.as_app("acme"))
    await _take_every_lock(attacker)
    for channel in ("insula", "insula_wake", "wake", "globex", "tenant_globex"):
        await attacker.execute(f"NOTIFY {channel}, 'globex'")

    admin = await two_tenants.connect()
    victim = await two_tenants.connect(two_tenants.as_engine("globex"))
    await victim.execute(
        "SET statement_timeout = '2s'; UPDATE tenant_globex.wf_fence SET epoch = 5"
    )

    node = await admin.fetchval("SELECT gen_random_uuid()")
    assert await wake.due(admin, node, asleep=[], steady=True) == []


async def _take_every_lock(connection: Connection) -> None:
    await connection.execute(
        "SELECT pg_advisory_lock(oid::bigint), pg_advisory_lock(oid::int, 0) FROM pg_class "
        "WHERE relname ~ '^wf_' AND oid::bigint < 2147483647"
    )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with connection.transaction():
            await connection.execute("LOCK TABLE tenant_globex.wf_run IN ACCESS EXCLUSIVE MODE")


async def test_of_what_others_do_a_login_sees_that_they_are_there(two_tenants: Database) -> None:
    victim = await two_tenants.connect(two_tenants.as_app("globex"))
    await victim.execute(f"SELECT $${SECRET}$$")
    attacker = await two_tenants.connect(two_tenants.as_app("acme"))

    rows = await attacker.fetch(
        "SELECT * FROM pg_stat_activity WHERE pid = $1", victim.get_server_pid()
    )

    assert len(rows) == 1
    assert SECRET not in str(rows)
    assert rows[0]["client_addr"] is None
    assert rows[0]["query"] == "<insufficient privilege>"
