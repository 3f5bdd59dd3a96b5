"""Which caches there are on a server of their own, and which of them are to be emptied."""

from __future__ import annotations

from orchestrator.model.ids import TenantId
from orchestrator.store.control import caches
from tests.support.database import Database

ACME = TenantId("acme")


async def test_a_cache_that_is_opened_again_before_it_is_forgotten_stays_known(
    database: Database,
) -> None:
    admin = await database.connect()
    await caches.opened(admin, ACME, 1)
    (remains,) = await caches.remaining(admin)  # nobody is called so
    await caches.opened(admin, ACME, 1)  # and now somebody is, as after a renaming back

    assert not await caches.forget(admin, remains)

    (later,) = await caches.remaining(admin)
    assert [await caches.forget(admin, later) for _ in range(2)] == [True, False]
