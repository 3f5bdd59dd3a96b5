"""Deleting a tenant: all of it or nothing, and never what is not ours."""

from __future__ import annotations

import gzip
import hashlib
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import msgspec
import pytest

from orchestrator.lifecycle.provision import ensure_provisioned
from orchestrator.lifecycle.removal import Removed, remove
from orchestrator.model.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    LeaseHeldElsewhere,
    RemovalIncomplete,
    SchemaConflict,
    StorageFailed,
    TenantInUse,
    TenantNotFound,
    TenantRemoved,
)
from orchestrator.model.ids import TenantId, new_run_id
from orchestrator.store import migrate
from orchestrator.store.connect import Connection
from orchestrator.store.control import pauses, tenants
from orchestrator.store.control.tenants import TenantRow
from tests.support.database import Database
from tests.support.proxy import CuttingProxy, When
from tests.support.wait import until

ACME = TenantId("acme")

RUN = """
INSERT INTO tenant_acme.wf_run
    (id, workflow, version, state, queue, priority, epoch, input, output, finished_at)
SELECT $1, 'report', '1', $2, 'default', 0, 0, '{"month": 1}', '{"flights": 3}',
       CASE WHEN $2 <> 'running' THEN now() END
"""


async def marked(database: Database, *, forced: bool = False) -> TenantRow:
    """Return the row of tenant acme, which is provisioned, and whose deletion has begun."""
    admin = await database.connect()
    await database.provision("acme")
    return await tenants.mark_deleting(admin, ACME, "keep", forced=forced)


async def add_run(admin: Connection, state: str) -> UUID:
    """Add a run to tenant acme; it has finished unless it is running."""
    run = new_run_id()
    await admin.execute(RUN, run, state)
    return run


async def remains(admin: Connection, database: Database, tenant: str = "acme") -> list[str]:
    """Return the schema and the roles of the tenant that the catalogs have."""
    logins = database.logins(tenant)
    found = await admin.fetch(
        "SELECT nspname::text FROM pg_namespace WHERE nspname = $1 UNION ALL "
        "SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($2::text[]) ORDER BY 1",
        f"tenant_{tenant}",
        [logins.engine, logins.app],
    )
    return [each[0] for each in found]


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the values of a results file whose checksum is right."""
    *content, last = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    trailer = msgspec.json.decode(last)
    assert trailer["sha256"] == hashlib.sha256(b"".join(content)).hexdigest()
    return [*(msgspec.json.decode(line) for line in content), trailer]


@pytest.mark.requirement("T6.deleted")
async def test_schema_and_logins_go_and_a_tombstone_stays(database: Database) -> None:
    row = await marked(database)
    admin = await database.connect()
    logins = database.logins("acme")

    removed = await remove(admin, row, database.spec())

    assert removed == Removed(schema="tenant_acme", roles=[logins.app, logins.engine])
    assert await remains(admin, database) == []
    left = await tenants.fetch(admin, ACME)
    assert (left.state, left.rotation, left.provisioned_at) == ("removed", 1, None)


async def test_who_is_logged_in_is_sent_away(database: Database) -> None:
    row = await marked(database)
    inside = [await database.connect(database.as_engine("acme"))]
    inside.append(await database.connect(database.as_app("acme")))

    await remove(await database.connect(), row, database.spec())

    for each in inside:
        with pytest.raises(Exception, match=r"terminat|closed"):
            await each.fetchval("SELECT 1")
    with pytest.raises(DatabaseRefused):
        await database.connect(database.as_engine("acme"))


async def test_finished_runs_are_kept_in_a_file(database: Database, tmp_path: Path) -> None:
    row = await marked(database)
    admin = await database.connect()
    ids = [await add_run(admin, state) for state in ("succeeded", "failed", "succeeded")]
    path = tmp_path / "results" / "acme.jsonl.gz"
    path.parent.mkdir()
    (path.parent / "acme.jsonl.gz.part").write_text("what a death left", encoding="utf-8")

    removed = await remove(admin, row, database.spec(), archive=path)

    header, *runs, trailer = lines_of(path)
    assert (header["insula"], header["format"], header["tenant"]) == ("results", 1, "acme")
    assert [run["id"] for run in runs] == [str(id) for id in ids]
    assert [run["state"] for run in runs] == ["succeeded", "failed", "succeeded"]
    assert runs[0]["output"] == {"flights": 3}
    assert trailer["runs"] == removed.runs_kept == 3
    assert [each.name for each in path.parent.iterdir()] == ["acme.jsonl.gz"]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_more_runs_than_a_lot_are_kept(database: Database, tmp_path: Path) -> None:
    row = await marked(database)
    admin = await database.connect()
    await admin.executemany(RUN, [(new_run_id(), "succeeded") for _ in range(1201)])

    removed = await remove(admin, row, database.spec(), archive=tmp_path / "a.gz")

    assert removed.runs_kept == 1201
    assert len(lines_of(tmp_path / "a.gz")) == 1203


@pytest.mark.requirement("T6.busy")
async def test_unfinished_runs_keep_a_tenant_unless_it_is_forced(database: Database) -> None:
    row = await marked(database)
    admin = await database.connect()
    await add_run(admin, "running")

    with pytest.raises(TenantInUse, match=r"has 1 unfinished run$"):
        await remove(admin, row, database.spec())
    assert len(await remains(admin, database)) == 3

    forced = await tenants.mark_deleting(admin, ACME, "keep", forced=True)
    assert (await tenants.mark_deleting(admin, ACME, "keep")).forced
    await remove(admin, forced, database.spec())
    assert await remains(admin, database) == []


async def waiting(admin: Connection, count: int = 1) -> bool:
    """Return whether so many sessions wait for a lock."""
    query = "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid"
    query += " WHERE NOT l.granted AND a.datname = current_database()"
    found: int = await admin.fetchval(query)
    return found == count


async def test_a_run_in_a_transaction_that_is_open_keeps_a_tenant_too(database: Database) -> None:
    await database.provision("acme")
    admin, application = await database.connect(), await database.connect()

    async with anyio.create_task_group() as group, application.transaction():
        await application.execute("SELECT insula.submit('acme', 'report')")
        row = await tenants.mark_deleting(admin, ACME, "purge")
        group.start_soon(_is_kept, database, row)
        await until(lambda: waiting(admin), what="the deletion waits")

    assert len(await remains(admin, database)) == 3


async def _is_kept(database: Database, row: TenantRow) -> None:
    with pytest.raises(TenantInUse, match="has 1 unfinished run"):
        await remove(await database.connect(), row, database.spec())


async def test_of_two_nodes_that_delete_at_once_one_does(database: Database) -> None:
    row = await marked(database)
    admin, ended = await database.connect(), list[str]()

    async def delete() -> None:
        try:
            await remove(await database.connect(), row, database.spec())
            ended.append("deleted")
        except TenantNotFound:
            ended.append("too late")

    async with anyio.create_task_group() as group, admin.transaction():
        await admin.execute("SELECT FROM insula.lock FOR UPDATE")
        group.start_soon(delete)
        group.start_soon(delete)
        await until(lambda: waiting(admin, 2), what="both wait")

    assert sorted(ended) == ["deleted", "too late"]
    assert await remains(admin, database) == []


async def test_a_deletion_that_has_ended_does_not_touch_the_next_tenant_of_the_id(
    database: Database,
) -> None:
    row = await marked(database, forced=True)
    admin = await database.connect()
    await remove(admin, row, database.spec())
    await tenants.register(admin, ACME, "{}")
    made = await ensure_provisioned(admin, admin, ACME, database.spec())
    login = database.spec().logins(ACME, made.rotation).as_engine(database.target)
    inside = await database.connect(login)
    later = await tenants.mark_deleting(admin, ACME, "purge")

    with pytest.raises(TenantNotFound):
        await remove(admin, row, database.spec())
    await tenants.unmark_deleting(admin, row)

    assert await inside.fetchval("SELECT 1") == 1
    assert await tenants.fetch(admin, ACME) == later
    assert not later.forced


async def test_who_waits_to_provision_a_tenant_does_not_make_it_anew(database: Database) -> None:
    await database.provision("acme")
    admin, other = await database.connect(), await database.connect()

    async def provision() -> None:
        with pytest.raises(TenantRemoved, match="was deleted"):
            await ensure_provisioned(other, other, ACME, database.spec(), again=True)

    async with anyio.create_task_group() as group, admin.transaction():
        await admin.execute("SELECT FROM insula.lock FOR UPDATE")
        group.start_soon(provision)
        await until(lambda: waiting(admin), what="the provisioning waits")
        row = await tenants.mark_deleting(admin, ACME, "purge")

    await remove(admin, row, database.spec())
    assert await remains(admin, database) == []


async def test_a_plain_admin_login_takes_away_all_that_a_tenant_has_left_behind(
    database: Database,
) -> None:
    admin, role = await database.connect(), f"{database.role_prefix}_admin"
    await admin.execute(
        f"DROP SCHEMA insula CASCADE; CREATE ROLE {role} LOGIN CREATEROLE PASSWORD 'x';"
        f"GRANT CREATE ON DATABASE {database.target.database} TO {role}"
    )
    plain = await database.connect(database.target.as_role(role, "x"))
    await migrate.migrate_control(plain)
    spec = msgspec.structs.replace(
        database.spec(), installation=await tenants.installation_id(plain)
    )
    await tenants.register(plain, ACME, "{}")
    await ensure_provisioned(plain, plain, ACME, spec)
    inside = await database.connect(database.as_app("acme"))
    await inside.execute(
        "SELECT lo_create(0); CREATE TEMP TABLE shadow ();"
        f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role}"
    )

    await remove(plain, await tenants.mark_deleting(plain, ACME, "purge"), spec)

    assert await remains(admin, database) == []
    assert await admin.fetchval("SELECT count(*) FROM pg_largeobject_metadata") == 0
    with pytest.raises(Exception, match=r"terminat|closed"):
        await inside.fetchval("SELECT 1")


async def test_what_is_in_the_way_is_named_and_everything_stays(database: Database) -> None:
    row = await marked(database)
    admin, other = await database.connect(), database.target.with_database("postgres")
    role = database.logins("acme").engine
    elsewhere = await database.connect(other)
    await elsewhere.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
    try:
        with pytest.raises(SchemaConflict, match="1 object in database postgres"):
            await remove(admin, row, database.spec())
        assert len(await remains(admin, database)) == 3
    finally:
        await elsewhere.execute(f"REVOKE USAGE ON SCHEMA public FROM {role}")
    await remove(admin, row, database.spec())


async def test_a_file_that_can_not_be_written_keeps_everything(
    database: Database, tmp_path: Path
) -> None:
    row = await marked(database)
    admin = await database.connect()
    (tmp_path / "taken").write_text("a file, no directory")

    with pytest.raises(StorageFailed, match="can not be written: Not a directory"):
        await remove(
            admin, row, database.spec(), archive=tmp_path / "taken" / "results" / "acme.gz"
        )

    assert len(await remains(admin, database)) == 3


async def test_what_other_schemas_depend_on_is_not_dropped(database: Database) -> None:
    row = await marked(database)
    admin = await database.connect()
    await admin.execute(
        "CREATE SCHEMA reports; CREATE VIEW reports.runs AS SELECT id FROM tenant_acme.wf_run;"
        "CREATE TABLE reports.note (run uuid REFERENCES tenant_acme.wf_run);"
        "CREATE TYPE tenant_acme.mood AS ENUM ('good', 'bad');"
        "CREATE FUNCTION tenant_acme.today() RETURNS tenant_acme.mood"
        " RETURN 'good'::tenant_acme.mood;"
        "CREATE TABLE reports.diary (mood tenant_acme.mood DEFAULT tenant_acme.today());"
        "CREATE TABLE reports.old () INHERITS (tenant_acme.wf_run)"
    )

    with pytest.raises(SchemaConflict) as caught:
        await remove(admin, row, database.spec())

    assert caught.value.data["dependents"] == [
        "column mood of table reports.diary",
        "constraint note_run_fkey on table reports.note",
        "default value for column mood of table reports.diary",
        "table reports.old",
        "view reports.runs",
    ]
    assert len(await remains(admin, database)) == 3


MADE_ANEW = """
CREATE FUNCTION public.made_anew() RETURNS event_trigger LANGUAGE plpgsql AS
    'BEGIN CREATE SCHEMA tenant_acme; CREATE TABLE tenant_acme.wf_migration (); END';
CREATE EVENT TRIGGER made_anew ON sql_drop WHEN TAG IN ('DROP SCHEMA')
    EXECUTE FUNCTION public.made_anew();
"""
"""Has the schema be there again as soon as it has been dropped."""


@pytest.mark.requirement("T6.deleted")
async def test_what_the_catalogs_still_have_at_the_end_is_told(database: Database) -> None:
    row = await marked(database)
    admin = await database.connect()
    await admin.execute(MADE_ANEW)

    with pytest.raises(RemovalIncomplete) as caught:
        await remove(admin, row, database.spec())

    assert caught.value.data["left"] == ["schema tenant_acme"]


async def test_a_role_and_a_schema_of_others_are_left_alone(database: Database) -> None:
    admin = await database.connect()
    app = database.logins("acme").app
    await tenants.register(admin, ACME, "{}")
    await admin.execute(f"CREATE ROLE {app} LOGIN; CREATE SCHEMA tenant_acme")
    row = await tenants.mark_deleting(admin, ACME, "purge")

    removed = await remove(admin, row, database.spec())

    assert (removed.schema, removed.roles) == (None, [])
    assert set(await remains(admin, database)) == {app, "tenant_acme"}
    assert await admin.fetchval("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", app)


async def test_a_tenant_that_a_living_node_serves_is_not_dropped(database: Database) -> None:
    row = await marked(database)
    admin = await database.connect()
    node = UUID(int=7)
    await admin.execute(
        "INSERT INTO insula.node (id, name, expires_at) VALUES ($1, 'b', 'infinity')", node
    )
    await admin.execute(
        "INSERT INTO insula.lease (tenant, node, epoch) VALUES ('acme', $1, 1)", node
    )

    with pytest.raises(LeaseHeldElsewhere, match="still served by node 'b'"):
        await remove(admin, row, database.spec())


async def test_what_was_paused_of_a_tenant_is_not_told_of_the_next_one_of_its_id(
    database: Database,
) -> None:
    row = await marked(database)
    admin = await database.connect()
    await admin.execute("""INSERT INTO insula.lease (tenant, epoch, pauses)
        VALUES ('acme', 1, '[{"workflow": "", "since": "2026-03-01T00:00:00Z", "reason": ""}]')""")
    assert [each.tenant for each in await pauses.all_paused(admin)] == [ACME]

    await remove(admin, row, database.spec())

    assert await pauses.all_paused(admin) == []


async def test_the_next_tenant_of_the_id_gets_other_passwords(database: Database) -> None:
    row = await marked(database)
    admin = await database.connect()
    await remove(admin, row, database.spec())

    await tenants.register(admin, ACME, "{}")
    again = await ensure_provisioned(admin, admin, ACME, database.spec())

    assert (again.state, again.rotation) == ("provisioned", 1)
    with pytest.raises(DatabaseRefused):
        await database.connect(database.as_engine("acme"))
    fits = database.spec().logins(ACME, again.rotation).as_engine(database.target)
    assert await (await database.connect(fits)).fetchval("SELECT 1") == 1


WHEN: tuple[When, ...] = ("before", "after")


async def test_a_death_at_any_statement_leaves_the_tenant_whole_or_gone(
    database: Database, tmp_path: Path
) -> None:
    admin = await database.connect()
    archive = tmp_path / "acme.gz"
    row, cut = await marked(database), 0
    for cut, when in ((at, when) for at in count(1) for when in WHEN):
        async with CuttingProxy(database.target, cut_at=cut, when=when).running() as proxy:
            try:
                broken = await database.connect(proxy.target)
                await remove(broken, row, database.spec(), archive=archive)
                break
            except DatabaseUnavailable:
                # The server may still be at the last statement: what holds the lock is waited for.
                await admin.execute("SELECT FROM insula.lock FOR UPDATE")
                row = await tenants.fetch(admin, ACME)
        left = len(await remains(admin, database))
        assert (row.state, left) in {("deleting", 3), ("removed", 0)}, f"cut {when} {cut}"
        if row.state == "removed":
            assert lines_of(archive)[-1]["runs"] == 0
            row = await marked(database)

    assert cut > 10
    assert await remains(admin, database) == []
