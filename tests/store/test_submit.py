"""insula.submit: runs started with SQL, in the caller's own transaction."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import anyio
import asyncpg
import pytest
from msgspec import structs

from orchestrator.lifecycle.provision import ensure_provisioned
from orchestrator.model.ids import new_run_id
from orchestrator.store import migrate
from orchestrator.store.connect import Connection, Target
from orchestrator.store.control import leases, tenants, wake
from tests.store.submitting import ACME, GLOBEX, RUNS, allow, login, submit
from tests.support.database import Database
from tests.support.due import due_tenants

WAKES = "SELECT tenant, due_at, reason FROM insula.wake"
NODE = new_run_id()
INJECTIONS = [
    "acme'; DELETE FROM insula.tenant; --",
    'acme".wf_run; DROP SCHEMA tenant_acme CASCADE; --',
    "$$; SELECT pg_sleep(100); $$",
    "%I %s %L %1$I",
    "tenant_globex",
    "'||(SELECT version())||'",
    "\\'; SELECT 1; --",
]


async def only_run(database: Database) -> asyncpg.Record:
    """Return the one run of acme."""
    (run,) = await (await database.connect()).fetch(RUNS)
    return run


async def test_a_run_counts_with_the_transaction_that_submits_it(
    acme: Database, application: Target
) -> None:
    connection, admin = await acme.connect(application), await acme.connect()
    used = "SELECT sum(submitted), sum(input_bytes) FROM tenant_acme.wf_usage"
    async with connection.transaction():
        for _ in range(2):
            await submit(connection, "acme", "report", '{"month": 1}', key="k")
        assert tuple(await admin.fetchrow(used) or ()) == (None, None)

    assert tuple(await admin.fetchrow(used) or ()) == (1, len('{"month": 1}'))

    await admin.execute("DROP TABLE tenant_acme.wf_usage")  # as before its schema is migrated
    await submit(connection, "acme", "report")


@pytest.mark.requirement("R8.sql", "R8.wake")
async def test_a_committed_run_is_queued_and_its_tenant_wakes(
    acme: Database, application: Target
) -> None:
    connection = await acme.connect(application)
    before = datetime.now(UTC)

    async with connection.transaction():
        id = await submit(connection, "acme", "report", '{"month": 1}')

    admin = await acme.connect()
    run = await only_run(acme)
    assert (run["id"], run["workflow"], run["state"], run["epoch"]) == (id, "report", "queued", 0)
    assert (run["version"], run["queue"], run["priority"], run["key"]) == ("", "default", 0, None)
    assert (run["input"], run["tags"], run["due_at"]) == ('{"month": 1}', [], None)
    assert abs(run["rank"] - before.timestamp() * 1000) < 60_000
    assert await due_tenants(admin, NODE) == ["acme"]


@pytest.mark.requirement("R8.sql")
async def test_a_run_that_was_rolled_back_never_existed(
    acme: Database, application: Target
) -> None:
    connection = await acme.connect(application)
    transaction = connection.transaction()
    await transaction.start()
    await submit(connection, "acme", "report")

    await transaction.rollback()

    admin = await acme.connect()
    assert await admin.fetch(RUNS) == []
    assert await admin.fetch(WAKES) == []


async def test_after_a_savepoint_was_rolled_back_the_next_run_still_wakes(
    acme: Database, application: Target
) -> None:
    connection = await acme.connect(application)

    async with connection.transaction():
        savepoint = connection.transaction()
        await savepoint.start()
        await submit(connection, "acme", "report")
        await savepoint.rollback()
        await submit(connection, "acme", "report")

    assert len(await all_wakes(acme)) == 1
    await only_run(acme)


async def all_wakes(database: Database) -> list[asyncpg.Record]:
    """Return all wake rows."""
    return await (await database.connect()).fetch(WAKES)


@pytest.mark.requirement("R8.queue")
async def test_every_field_is_stored(acme: Database, application: Target) -> None:
    connection = await acme.connect(application)
    at = datetime.now(UTC) + timedelta(days=1)

    await submit(
        connection, "acme", "report", "{}", key="2013-01", queue="slow", priority=9, version="2",
        at=at, tags=["a", "b,c", 'd"'],
    )  # fmt: skip

    run = await only_run(acme)
    assert (run["key"], run["queue"], run["priority"], run["version"]) == (
        "2013-01",
        "slow",
        9,
        "2",
    )
    assert (run["due_at"], run["tags"]) == (at, ["a", "b,c", 'd"'])
    assert (run["created_at"].timestamp() - 540) * 1000 == pytest.approx(run["rank"], abs=5000)
    assert [tuple(row) for row in await all_wakes(acme)] == [("acme", at, "submit")]


async def test_a_time_that_is_over_is_now(acme: Database, application: Target) -> None:
    connection = await acme.connect(application)

    for text in ("1970-01-01 UTC", "2020-01-01"):
        await connection.execute(f"SELECT insula.submit('acme', 'report', at => '{text}')")

    admin = await acme.connect()
    assert {run["due_at"] for run in await admin.fetch(RUNS)} == {None}
    assert set(await due_tenants(admin, NODE)) == {"acme"}


async def test_the_id_is_a_uuid_of_version_7_that_sorts_by_time(
    acme: Database, application: Target
) -> None:
    connection = await acme.connect(application)
    low = new_run_id()

    ids = [await submit(connection, "acme", "report") for _ in range(50)]

    assert len({*ids}) == 50
    assert {(id.version, id.variant) for id in ids} == {(7, low.variant)}
    assert all(abs((id.int >> 80) - (low.int >> 80)) < 60_000 for id in ids)


@pytest.mark.requirement("R8.key")
async def test_the_same_key_gives_the_same_run(acme: Database, application: Target) -> None:
    connection = await acme.connect(application)

    first = await submit(connection, "acme", "report", '{"n": 1}', key="k")
    again = await submit(connection, "acme", "report", '{"n": 2}', key="k")
    other = await submit(connection, "acme", "other", key="k")

    assert first == again != other
    assert len(await (await acme.connect()).fetch(RUNS)) == 2


async def test_the_same_key_at_the_same_time_is_one_run(
    acme: Database, application: Target
) -> None:
    connections = [await acme.connect(application) for _ in range(8)]
    ids: list[UUID] = []

    async def start(connection: Connection) -> None:
        async with connection.transaction():
            ids.append(await submit(connection, "acme", "report", key="k"))

    async with anyio.create_task_group() as group:
        for connection in connections:
            group.start_soon(start, connection)

    assert len(ids) == 8
    assert {*ids} == {(await only_run(acme))["id"]}


async def test_a_key_whose_first_transaction_rolls_back_is_free_again(
    acme: Database, application: Target
) -> None:
    first, second = await acme.connect(application), await acme.connect(application)
    transaction = first.transaction()
    await transaction.start()
    lost = await submit(first, "acme", "report", key="k")
    ids: list[UUID] = []

    async def start() -> None:
        ids.append(await submit(second, "acme", "report", key="k"))

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await transaction.rollback()

    assert ids == [(await only_run(acme))["id"]]
    assert ids != [lost]


async def test_many_runs_of_one_transaction_wake_once(acme: Database, application: Target) -> None:
    connection = await acme.connect(application)

    await connection.execute(
        "SELECT insula.submit('acme', 'report', jsonb_build_object('n', n))"
        " FROM generate_series(1, 1000) AS n"
    )

    assert len(await (await acme.connect()).fetch(RUNS)) == 1000
    assert len(await all_wakes(acme)) == 1


async def test_an_earlier_run_of_a_transaction_moves_the_waking_forward(
    acme: Database, application: Target
) -> None:
    connection = await acme.connect(application)

    async with connection.transaction():
        await submit(connection, "acme", "report", at=datetime.now(UTC) + timedelta(days=1))
        await submit(connection, "acme", "report")

    assert await due_tenants(await acme.connect(), NODE) == ["acme"]


async def test_an_open_transaction_holds_up_neither_callers_nor_the_daemon(
    acme: Database, application: Target
) -> None:
    """Whoever waits here waits for the transaction that the test ends last."""
    admin = await acme.connect()
    node = new_run_id()
    await admin.execute("SET lock_timeout = '1s'")
    await admin.execute(
        "INSERT INTO insula.node (id, name, expires_at) VALUES ($1, 'a', 'infinity')", node
    )
    await leases.claim(admin, ACME, node)
    await leases.claim(admin, GLOBEX, node)
    other = await acme.connect(application)
    await submit(other, "acme", "report")
    slow = await acme.connect(application)
    transaction = slow.transaction()
    await transaction.start()
    await submit(slow, "acme", "report")
    await submit(slow, "globex", "report")

    await other.execute("SET lock_timeout = '1s'")
    await submit(other, "globex", "report")
    await submit(other, "acme", "report")
    await wake.consume(admin, node, [ACME, GLOBEX])
    await leases.release(admin, GLOBEX, node, 1, wake_at=None)
    epoch = (await leases.claim(admin, ACME, node)).epoch
    later = datetime.now(UTC) + timedelta(days=1)
    await leases.release(admin, ACME, node, epoch, wake_at=later)
    assert await due_tenants(admin, NODE) == []

    await transaction.commit()
    assert sorted(await due_tenants(admin, NODE)) == ["acme", "globex"]
    await leases.claim(admin, ACME, node)
    assert await due_tenants(admin, NODE) == ["globex"]


async def test_a_run_that_commits_after_the_tenant_woke_pokes_it(
    acme: Database, application: Target
) -> None:
    admin = await acme.connect()
    node = new_run_id()
    await admin.execute(
        "INSERT INTO insula.node (id, name, expires_at) VALUES ($1, 'a', 'infinity')", node
    )
    connection = await acme.connect(application)

    async with connection.transaction():
        await submit(connection, "acme", "report")
        await leases.claim(admin, ACME, node)

    assert await due_tenants(admin, node) == ["acme"]


async def test_no_argument_is_ever_read_as_sql(acme: Database, application: Target) -> None:
    connection, admin = await acme.connect(application), await acme.connect()

    for text in INJECTIONS:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await submit(connection, text, "report")
        await submit(
            connection, "acme", text, json_with(text), key=text, queue=text, version=text,
            tags=[text],
        )  # fmt: skip

        assert caught.value.sqlstate == "IN404"
        (run,) = await admin.fetch("DELETE FROM tenant_acme.wf_run RETURNING *")
        assert {run["workflow"], run["key"], run["queue"], run["version"], *run["tags"]} == {text}
        assert len(await tenants.fetch_all(admin)) == 2


def json_with(text: str) -> str:
    """Return `text` within a JSON object, as text for PostgreSQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'{{"a": "{escaped}"}}'


async def test_objects_of_the_caller_are_never_used(acme: Database, application: Target) -> None:
    """Neither its search path nor its temporary tables reach into the function."""
    connection = await acme.connect(application)
    await connection.execute(
        "CREATE TEMPORARY TABLE wf_run (LIKE pg_class);"
        "CREATE TEMPORARY TABLE tenant (id text);"
        "CREATE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
        " AS 'SELECT timestamptz ''2000-01-01''';"
        "SET search_path = pg_temp, pg_catalog"
    )

    await submit(connection, "acme", "report")

    assert (await only_run(acme))["rank"] > 1_600_000_000_000


async def test_without_a_grant_nobody_starts_runs(acme: Database) -> None:
    stranger = await acme.connect(await login(acme, f"{acme.role_prefix}_other", grant=False))
    admin = await acme.connect()

    for role in (stranger, await acme.connect(acme.as_app("acme"))):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="schema insula"):
            await submit(role, "acme", "report")
    await admin.execute("GRANT USAGE ON SCHEMA insula TO PUBLIC")
    for function in ("submit('acme', 'report')", "schema_to_submit_to('acme')"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="function"):
            await stranger.execute(f"SELECT insula.{function}")


async def test_the_grant_opens_nothing_else(acme: Database, application: Target) -> None:
    connection = await acme.connect(application)

    for text in (
        "SELECT * FROM insula.tenant",
        "SELECT * FROM insula.submission",
        "INSERT INTO insula.submission (tenant, due_at, reason) VALUES ('acme', now(), '')",
        "SELECT * FROM tenant_acme.wf_run",
        "SELECT insula.schema_to_submit_to('acme')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(text)


@pytest.mark.parametrize("kind", ["engine", "app"])
async def test_a_tenants_login_starts_runs_of_its_own_tenant_only(
    acme: Database, kind: str
) -> None:
    target = acme.as_engine("acme") if kind == "engine" else acme.as_app("acme")
    await allow(acme, target.user)
    connection = await acme.connect(target)

    await submit(connection, "acme", "report")
    for tenant in ("globex", "nobody", None):
        with pytest.raises(asyncpg.PostgresError, match="may not start runs") as caught:
            await submit(connection, tenant, "report")
        assert caught.value.sqlstate == "IN403"

    assert (await only_run(acme))["workflow"] == "report"
    assert await (await acme.connect()).fetchval("SELECT count(*) FROM tenant_globex.wf_run") == 0


async def test_a_serializable_transaction_gets_a_retry_and_never_a_second_run(
    acme: Database, application: Target
) -> None:
    connection = await acme.connect(application)
    async with connection.transaction(isolation="repeatable_read"):
        await connection.fetchval("SELECT 1")
        await submit(await acme.connect(application), "acme", "report", key="k")

        with pytest.raises(asyncpg.SerializationError):
            async with connection.transaction():
                await submit(connection, "acme", "report", key="k")

    await only_run(acme)


async def test_an_owner_without_superpowers_is_enough(database: Database) -> None:
    admin = await database.connect()
    owner = f"{database.role_prefix}_owner"
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(
        f"DROP SCHEMA insula CASCADE; CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'secret';"
        f'GRANT CREATE ON DATABASE "{name}" TO {owner}'
    )
    plain = await database.connect(database.target.as_role(owner, "secret"))
    await migrate.migrate_control(plain)
    await tenants.register(plain, ACME, "{}")
    spec = structs.replace(
        database.spec(), installation=await plain.fetchval("SELECT id FROM insula.installation")
    )
    await ensure_provisioned(plain, plain, ACME, spec)
    connection = await database.connect(
        await login(database, f"{database.role_prefix}_web", grant=True)
    )

    await submit(connection, "acme", "report")

    await only_run(database)
    assert (await all_wakes(database))[0]["tenant"] == "acme"
