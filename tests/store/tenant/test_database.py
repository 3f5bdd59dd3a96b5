"""What tasks get of the database."""

from __future__ import annotations

import anyio

from orchestrator.store.tenant.database import TenantDatabase
from tests.support.database import Database


async def test_a_task_that_has_a_transaction_never_waits_for_another_place(
    database: Database,
) -> None:
    await database.provision("acme")
    places = anyio.Semaphore(2)
    db = TenantDatabase(database.as_app("acme"), application_name="test", places=places)
    both_hold = anyio.Event()
    seen: list[int] = []

    async def task() -> None:
        async with db.transaction() as tx:
            seen.append(await tx.fetchval("SELECT 1"))
            if len(seen) == 2:
                both_hold.set()
            await both_hold.wait()
            seen.append(await db.fetchval("SELECT 2"))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(task)
            group.start_soon(task)

    assert sorted(seen) == [1, 1, 2, 2]
    assert places.value == 2
    await db.close()


async def test_nothing_that_a_task_did_to_its_session_reaches_the_next(database: Database) -> None:
    await database.provision("acme")
    places = anyio.Semaphore(2)
    db = TenantDatabase(database.as_app("acme"), application_name="test", places=places)
    path = await db.fetchval("SHOW search_path")

    await db.execute("SET search_path = pg_catalog")
    await db.execute("SET statement_timeout = 1")
    await db.fetchval("SELECT pg_advisory_lock(1)")

    assert await db.fetchval("SHOW search_path") == path
    assert await db.fetchval("SHOW statement_timeout") != "1ms"
    assert await db.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    await db.close()
