"""What tasks get of the database: places, connections, and transactions of the owner's alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import asyncpg
import pytest

from orchestrator.model.errors import DatabaseRefused, DatabaseUnavailable, LeaseLost
from orchestrator.store.connect import Connection, Target
from orchestrator.store.tenant.database import NestedTooDeep, TenantDatabase
from orchestrator.store.tenant.fence import Fence
from orchestrator.store.tenant.login import Way
from orchestrator.store.tenant.places import APP_CONNECTIONS, TASK_PLACES, Places
from orchestrator.store.tenant.session import Session
from orchestrator.workflow.durable import AttemptOver
from tests.support.database import Database
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

FENCE = Fence("tenant_acme", epoch=0)
SLEEPS = """
    SELECT EXISTS (
        SELECT FROM pg_stat_activity WHERE state = 'active' AND query ~ '^SELECT pg_sleep'
    )
"""


@pytest.fixture
async def acme(database: Database) -> Database:
    """Yield a database with tenant acme and its table of notes."""
    await database.provision("acme")
    admin = await database.connect()
    await admin.execute("CREATE TABLE tenant_acme.note (text text NOT NULL)")
    role = database.logins("acme").app
    await admin.execute(f"GRANT SELECT, INSERT ON tenant_acme.note TO {role}")
    return database


@asynccontextmanager
async def opened(
    acme: Database,
    *,
    places: Places | None = None,
    patience: float = 20.0,
    repair: Callable[[], object] | None = None,
    target: Target | None = None,
) -> AsyncIterator[TenantDatabase]:
    """Open the tenant's database for tasks."""
    way_in = target or acme.as_app("acme")

    async def renew(*, again: bool) -> Target:
        if again:
            if repair is not None:
                repair()
            await acme.provision("acme")
        return way_in

    database = TenantDatabase(
        Way(way_in, renew),
        application_name="test",
        places=places or Places(50),
        fence=FENCE,
        patience=patience,
    )
    try:
        yield database
    finally:
        await database.close()


async def limit(admin: Connection, acme: Database, connections: int) -> None:
    """Let the tenant's application role have so many connections."""
    role = acme.logins("acme").app
    await admin.execute(f"ALTER ROLE {role} CONNECTION LIMIT {connections}")


async def test_nested_transactions_of_many_tasks_never_wait_for_each_other(acme: Database) -> None:
    everyone, done = TASK_PLACES + 6, 0
    places = Places(4)

    async def task(session: Session) -> None:
        nonlocal done
        async with session.transaction() as tx:
            assert await tx.fetchval("SELECT 1") == 1
            await anyio.lowlevel.checkpoint()
            assert await session.fetchval("SELECT 2") == 2
        done += 1

    async with opened(acme, places=places) as database:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for number in range(everyone):
                    group.start_soon(task, Session(database, str(number)))
    assert (done, places.used) == (everyone, 0)


async def test_a_third_transaction_within_a_second_is_refused(acme: Database) -> None:
    async with opened(acme) as database:
        session = Session(database, "task")
        with pytest.raises(NestedTooDeep):
            async with session.transaction(), session.transaction(), session.transaction():
                raise AssertionError
        assert session.close() == 0


async def test_more_users_than_the_role_may_have_connections_wait_their_turn(
    acme: Database,
) -> None:
    admin = await acme.connect()
    role = acme.logins("acme").app
    most = done = 0

    async def use(session: Session, number: int) -> None:
        nonlocal most, done
        async with session.transaction() as tx:
            count = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1"
            if number % 10 == 0:
                seen = await tx.fetchval(count, role)
                most = max(most, seen)
            await tx.execute("SELECT pg_sleep(0.01)")
        done += 1

    async with opened(acme) as database, anyio.create_task_group() as group:
        for number in range(3 * APP_CONNECTIONS):
            group.start_soon(use, Session(database, "task"), number)
            await anyio.lowlevel.checkpoint()

    limited = await admin.fetchval("SELECT rolconnlimit FROM pg_roles WHERE rolname = $1", role)
    assert limited == APP_CONNECTIONS
    assert 0 < most <= TASK_PLACES + 1
    assert done == 3 * APP_CONNECTIONS


async def test_who_waits_in_vain_is_told_who_holds_the_places(acme: Database) -> None:
    async with opened(acme, places=Places(1), patience=0.1) as database:
        holder, waiter = Session(database, "task 'slow' of run 7"), Session(database, "task")
        async with holder.transaction():
            with pytest.raises(DatabaseUnavailable, match=r"all 1 .* task 'slow' of run 7") as no:
                await waiter.fetchval("SELECT 1")
        assert "max_concurrent_tasks" in no.value.hint
        assert await waiter.fetchval("SELECT 1") == 1


async def test_a_full_server_is_waited_for(acme: Database) -> None:
    admin = await acme.connect()
    await limit(admin, acme, 0)
    async with (
        CuttingProxy(acme.as_app("acme")).running() as way,
        opened(acme, target=way.target) as database,
        anyio.create_task_group() as group,
    ):
        seen: list[int] = []

        async def ask() -> None:
            seen.append(await Session(database, "task").fetchval("SELECT 1"))

        group.start_soon(ask)
        await until(lambda: way.connections >= 3)
        assert seen == [], "refused twice already"
        await limit(admin, acme, APP_CONNECTIONS)
        await until(lambda: seen == [1])


async def test_a_server_that_stays_full_is_an_error_in_the_end(acme: Database) -> None:
    admin = await acme.connect()
    await limit(admin, acme, 0)
    async with opened(acme, patience=0.2) as database:
        with pytest.raises(DatabaseUnavailable, match="too many connections"):
            await Session(database, "task").fetchval("SELECT 1")


async def test_a_kept_connection_that_has_died_is_replaced(acme: Database) -> None:
    admin = await acme.connect()
    async with opened(acme) as database:
        session = Session(database, "task")
        for _ in range(3):
            backend = await session.fetchval("SELECT pg_backend_pid()")
            await admin.execute("SELECT pg_terminate_backend($1, 5000)", backend)
            # No await lets the driver see that it is gone.
            assert await session.fetchval("SELECT pg_backend_pid()") != backend


async def test_nothing_that_a_task_did_to_its_session_reaches_the_next(acme: Database) -> None:
    async with opened(acme) as database:
        db = Session(database, "task")
        path = await db.fetchval("SHOW search_path")
        await db.execute("SET search_path = pg_catalog")
        await db.execute("SET statement_timeout = 1")
        await db.fetchval("SELECT pg_advisory_lock(1)")

        assert await db.fetchval("SHOW search_path") == path
        assert await db.fetchval("SHOW statement_timeout") == "5min"
        assert await db.fetchval("SHOW lock_timeout") == "1min"
        assert await db.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


async def test_what_the_role_has_set_for_itself_does_not_count(acme: Database) -> None:
    async with opened(acme) as database:
        db = Session(database, "task")
        await db.execute("ALTER ROLE CURRENT_USER SET search_path = public")
        await db.execute("ALTER ROLE CURRENT_USER SET lock_timeout = 0")
    async with opened(acme) as database:
        db = Session(database, "task")
        assert await db.fetchval("SHOW search_path") == '"tenant_acme", pg_temp'
        assert await db.fetchval("SHOW lock_timeout") == "1min"


async def test_a_transaction_has_the_isolation_that_it_was_asked_for(acme: Database) -> None:
    async with opened(acme) as database:
        db = Session(database, "task")
        async with db.transaction(isolation="serializable") as tx:
            assert await tx.fetchval("SHOW transaction_isolation") == "serializable"
            await tx.execute("INSERT INTO note VALUES ('a')")
        assert await db.fetchval("SELECT count(*) FROM note") == 1
        with pytest.raises(ValueError, match="isolation is one of"):
            await db.transaction(isolation="dirty").__aenter__()  # type: ignore[arg-type]


async def test_a_failed_statement_that_was_swallowed_does_not_pass_for_a_commit(
    acme: Database,
) -> None:
    async with opened(acme) as database:
        db = Session(database, "task")

        async def swallow() -> None:
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO note VALUES ('a')")
                with suppress(asyncpg.DivisionByZeroError):
                    await tx.execute("SELECT 1 / 0")

        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await swallow()
        assert await db.fetchval("SELECT count(*) FROM note") == 0


async def test_what_is_open_at_the_end_of_an_attempt_is_cut_off(acme: Database) -> None:
    admin, places, told = await acme.connect(), Places(2), list[BaseException]()
    async with opened(acme, places=places) as database:
        attempt, other = Session(database, "task"), Session(database, "task")

        async def straggle() -> None:
            try:
                await attempt.execute("SELECT pg_sleep(60)")
            except AttemptOver as error:
                told.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(straggle)
            await until(lambda: admin.fetchval(SLEEPS))
            tx = await attempt.transaction().__aenter__()
            await tx.execute("INSERT INTO note VALUES ('a')")

            assert attempt.close() == 2

        assert (places.used, [type(error) for error in told]) == (0, [AttemptOver])
        with pytest.raises(AttemptOver):
            await attempt.fetchval("SELECT 1")
        assert await other.fetchval("SELECT count(*) FROM note") == 0
        # The server finds out by itself that nobody waits for the answer.
        await until(lambda: admin.fetchval(f"SELECT NOT ({SLEEPS})"))


async def test_a_former_owner_begins_nothing(acme: Database) -> None:
    admin = await acme.connect()
    async with opened(acme) as database:
        session = Session(database, "task")

        async def begin() -> None:
            async with session.transaction():
                pytest.fail("it has begun")

        await admin.execute("UPDATE tenant_acme.wf_fence SET epoch = 1")
        with pytest.raises(LeaseLost) as lost:
            await begin()
        assert session.lease_lost is lost.value


async def test_a_former_owner_commits_nothing(acme: Database) -> None:
    admin = await acme.connect()
    async with opened(acme) as database:
        session = Session(database, "task")

        async def write() -> None:
            async with session.transaction() as tx:
                await tx.execute("INSERT INTO note VALUES ('a')")
                # A takeover does not wait for a transaction, however long it is.
                await admin.execute("SET lock_timeout = '1s'")
                await admin.execute("UPDATE tenant_acme.wf_fence SET epoch = 1")

        with pytest.raises(LeaseLost):
            await write()
        assert await admin.fetchval("SELECT count(*) FROM tenant_acme.note") == 0


async def test_a_takeover_waits_for_a_commit_under_way(acme: Database) -> None:
    admin, app = await acme.connect(), await acme.connect(acme.as_app("acme"))
    moved = anyio.Event()

    async def take_over() -> None:
        await admin.execute("UPDATE tenant_acme.wf_fence SET epoch = 1")
        moved.set()

    async with anyio.create_task_group() as group:
        transaction = app.transaction()
        await transaction.start()
        await app.execute("INSERT INTO note VALUES ('a')")
        await app.execute("SELECT tenant_acme.wf_owned(0)")
        group.start_soon(take_over)
        other = await acme.connect()
        waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
        await until(lambda: other.fetchval(waits))
        assert not moved.is_set()
        await transaction.commit()
    assert moved.is_set()


async def test_reading_locks_and_writes_nothing(acme: Database) -> None:
    async with opened(acme) as database, Session(database, "task").transaction() as tx:
        assert await tx.fetchval("SELECT count(*) FROM note") == 0
        await tx.execute("SELECT wf_owned(0)")
        assert await tx.fetchval("SELECT pg_current_xact_id_if_assigned()") is None


@pytest.mark.parametrize("damage", ["NOLOGIN", "PASSWORD 'other'"])
async def test_a_login_that_was_spoilt_is_mended_once(acme: Database, damage: str) -> None:
    admin, repairs = await acme.connect(), list[int]()
    await admin.execute(f"ALTER ROLE {acme.logins('acme').app} {damage}")
    async with opened(acme, repair=lambda: repairs.append(1)) as database:

        async def ask() -> None:
            assert await Session(database, "task").fetchval("SELECT 1") == 1

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
    assert len(repairs) == 1


async def test_a_login_that_can_not_be_mended_is_refused(acme: Database) -> None:
    repairs = list[int]()
    async with opened(acme, repair=lambda: repairs.append(1)) as database:
        role = acme.logins("acme").app
        acme.key = type(acme.key)(bytes(32))  # from now on every provisioning sets another password
        await acme.provision("acme")
        for _ in range(3):
            with pytest.raises(DatabaseRefused):
                await Session(database, role).fetchval("SELECT 1")
    assert len(repairs) == 1
