"""A connection that served one verb serves the next one of its kind, as if it were new."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import msgspec
import pytest

from orchestrator.model.errors import DatabaseRefused
from orchestrator.store import warm
from orchestrator.store.connect import Connection
from orchestrator.store.warm import Errand, WarmConnections
from tests.support.database import Database
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

LEFT_BEHIND = """
    SET search_path = tenant_acme;
    SET lock_timeout = 1;
    SET application_name = 'somebody';
    PREPARE left_behind AS SELECT 1;
    CREATE TEMPORARY TABLE left_behind ();
    DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1;
    LISTEN left_behind;
    SELECT pg_advisory_lock(1);
    SET ROLE pg_monitor;
    SET SESSION AUTHORIZATION pg_monitor;
"""
FOUND = """
    SELECT current_user = $1 AND session_user = $1 AND current_setting('role') = 'none',
           current_setting('search_path') = '"$user", public',
           current_setting('lock_timeout'),
           current_setting('application_name'),
           (SELECT count(*) FROM pg_prepared_statements WHERE name = 'left_behind'),
           to_regclass('pg_temp.left_behind') IS NULL,
           (SELECT count(*) FROM pg_cursors WHERE is_holdable),
           (SELECT count(*) FROM pg_listening_channels()),
           (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
"""


@pytest.fixture
async def connections() -> AsyncIterator[WarmConnections]:
    """Return some that are closed after the test."""
    made = WarmConnections()
    yield made
    await made.close()


def errand(database: Database, what: str = "statistics") -> Errand:
    """Return an errand to the test's database."""
    return Errand(what=what, target=database.target, lock_timeout="3s")


async def backend(connections: WarmConnections, errand: Errand, *, keep: bool = True) -> int:
    """Return the backend that serves an errand."""
    async with connections.lend(errand, keep=keep) as connection:
        return await _backend(connection)


async def _backend(connection: Connection) -> int:
    pid: int = await connection.fetchval("SELECT pg_backend_pid()")
    return pid


async def test_the_next_verb_of_its_kind_has_the_same_backend_and_no_other_kind_has(
    database: Database, connections: WarmConnections
) -> None:
    first = await backend(connections, errand(database))

    assert await backend(connections, errand(database)) == first
    assert await backend(connections, errand(database, "backup")) != first
    longer = msgspec.structs.replace(errand(database), lock_timeout="9s")
    assert await backend(connections, longer) != first


async def test_nothing_of_a_session_is_there_for_the_next_verb(
    database: Database, connections: WarmConnections
) -> None:
    async with connections.lend(errand(database)) as connection:
        await connection.execute("CREATE SCHEMA tenant_acme")
        await connection.fetchval(FOUND, database.target.user)  # the driver prepares it
        first = await _backend(connection)
        await connection.execute(LEFT_BEHIND)

    async with connections.lend(errand(database)) as connection:
        assert await _backend(connection) == first
        found = await connection.fetchrow(FOUND, database.target.user)

    assert found is not None
    assert tuple(found) == (True, True, "3s", "insula statistics", 0, True, 0, 0, 0)


async def test_a_verb_that_failed_or_left_a_transaction_leaves_its_connection_to_nobody(
    database: Database, connections: WarmConnections
) -> None:
    async def fail() -> None:
        async with connections.lend(errand(database)) as connection:
            seen.append(await _backend(connection))
            raise ValueError("the verb failed")

    seen: list[int] = []
    with pytest.raises(ValueError, match="the verb failed"):
        await fail()
    async with connections.lend(errand(database)) as connection:
        seen.append(await _backend(connection))
        await connection.execute("BEGIN")

    assert await backend(connections, errand(database)) not in seen


async def test_one_to_a_database_that_may_be_dropped_is_not_kept(
    database: Database, connections: WarmConnections
) -> None:
    first = await backend(connections, errand(database), keep=False)

    assert await backend(connections, errand(database)) != first


async def test_one_that_the_server_has_ended_is_replaced(
    database: Database, connections: WarmConnections
) -> None:
    admin = await database.connect()
    async with connections.lend(errand(database)) as connection:
        first = await _backend(connection)
    await admin.execute("SELECT pg_terminate_backend($1, 5000)", first)
    await until(connection.is_closed, what="the driver has seen it")

    assert await backend(connections, errand(database)) != first


async def test_one_that_is_kept_outlives_its_password_and_the_next_login_does_not(
    database: Database, connections: WarmConnections
) -> None:
    admin, role = await database.connect(), f"{database.role_prefix}_admin"
    await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'one'")
    old, new = (
        msgspec.structs.replace(errand(database), target=database.target.as_role(role, password))
        for password in ("one", "two")
    )
    first = await backend(connections, old)
    await admin.execute(f"ALTER ROLE {role} PASSWORD 'two'")

    assert await backend(connections, old, keep=False) == first

    with pytest.raises(DatabaseRefused, match="password"):
        await backend(connections, old)
    assert await backend(connections, new) != first


async def test_no_more_are_kept_than_a_few_and_none_for_ever(
    database: Database, connections: WarmConnections
) -> None:
    kinds = [errand(database, f"kind {number}") for number in range(warm.KEPT + 1)]
    before = [await backend(connections, each) for each in kinds]
    assert await backend(connections, kinds[0]) != before[0]
    assert await backend(connections, kinds[-1]) == before[-1]

    served = [await backend(connections, kinds[-1]) for _ in range(warm.USES)]

    assert 1 < len(set(served)) <= 2


async def test_none_is_left_when_they_are_closed(database: Database) -> None:
    admin, connections = await database.connect(), WarmConnections()
    async with connections.lend(errand(database)) as connection:
        await connections.close()
    assert connection.is_closed()

    seen = await backend(connections, errand(database))
    gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)"
    await until(lambda: admin.fetchval(gone, seen), what="its backend has ended")


async def test_a_verb_that_has_ended_waits_for_no_server_that_is_silent(
    database: Database, connections: WarmConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "CLOSE_SECONDS", 0.05)
    async with CuttingProxy(database.target).running() as proxy:
        silent = msgspec.structs.replace(errand(database), target=proxy.target)
        with anyio.fail_after(10):
            async with connections.lend(silent) as connection:
                await _backend(connection)
                proxy.freeze()

    assert connection.is_closed()
