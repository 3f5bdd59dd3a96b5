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
