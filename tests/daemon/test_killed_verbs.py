"""kill -9 in the middle of what is done to whole tenants: it is finished or undone, and told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Client
from orchestrator.model.errors import InsulaError, TenantNotFound
from orchestrator.store.connect import Connection
from tests.daemon.process import Daemon, daemon
from tests.support.database import Database
from tests.support.wait import until

VERBS: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "deleted": lambda client: client.tenant("deleted").lifecycle.delete(keep_results=True),
    "renamed": lambda client: client.tenant("renamed").lifecycle.rename("initech"),
    "rotated": lambda client: client.tenant("rotated").lifecycle.rotate_credentials(),
    "maintained": lambda client: client.tenant("maintained").lifecycle.maintain(),
    "updated": lambda client: client.tenant("updated").lifecycle.update(name="Initech"),
}
"""What is done to the tenant of that id."""

LOCKS = {
    "deleted": "SELECT FROM insula.lock WHERE name = 'tenant deleted' FOR UPDATE",
    "renamed": "SELECT FROM insula.lock WHERE name = 'tenant renamed' FOR UPDATE",
    "rotated": "SELECT FROM insula.lock WHERE name = 'tenant rotated' FOR UPDATE",
    "maintained": "LOCK TABLE tenant_maintained.tally IN ACCESS EXCLUSIVE MODE",
    # The last one, since the first two change the registry before they come to their lock.
    "updated": "LOCK TABLE insula.tenant IN SHARE ROW EXCLUSIVE MODE",
}
"""Where each of them stands still in its middle."""


@asynccontextmanager
async def asked(client: Client, tenant: str) -> AsyncIterator[None]:
    """Ask for the verb while the block runs, and learn nothing of what became of it."""

    async def ask() -> None:
        with pytest.raises(InsulaError):
            await VERBS[tenant](client)

    asking = asyncio.create_task(ask())
    yield
    await asking


async def die_in_the_middle(served: Daemon, database: Database) -> None:
    """Have all of them under way, each at its lock, and kill the daemon."""
    admin, holder = await database.connect(), await database.connect()
    async with served.client() as client, holder.transaction():
        asking = [asked(client, tenant) for tenant in VERBS]
        for count, (tenant, each) in enumerate(zip(VERBS, asking, strict=True), start=1):
            await holder.execute(LOCKS[tenant])
            await each.__aenter__()
            await until(partial(_are_waiting, admin, count), what=f"{tenant} stands still")
        await served.kill()
        for each in asking:
            await each.__aexit__(None, None, None)


async def _are_waiting(admin: Connection, count: int) -> bool:
    found: int = await admin.fetchval(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return found == count


async def told(client: Client, tenant: str) -> list[tuple[str, str | None]]:
    """Return what the audit has of a tenant since it was made, oldest first."""
    entries = (await client.audit(tenant)).entries
    return [(each.operation, each.outcome) for each in reversed(entries)][2:]


async def left(admin: Connection, tenant: str) -> list[str]:
    """Return the schemas and roles whose name ends with that of the tenant."""
    found = await admin.fetch(
        "SELECT nspname::text FROM pg_namespace WHERE nspname = 'tenant_' || $1"
        " UNION ALL SELECT rolname::text FROM pg_roles WHERE rolname LIKE 't%\\_' || $1 ORDER BY 1",
        tenant,
    )
    return [each[0] for each in found]


@pytest.mark.slow
async def test_what_a_killed_daemon_was_doing_to_tenants_is_finished_or_undone(
    database: Database, state_dir: Path
) -> None:
    admin = await database.connect()
    async with daemon(state_dir) as served:
        served.configure([], database=database)
        await served.start()
        async with served.client() as client:
            for tenant in VERBS:
                await client.create_tenant(tenant)
                await client.tenant(tenant).provision()
        await die_in_the_middle(served, database)

        await served.start()
        async with served.client() as client:
            await _deletion_is_finished(client, admin)
            await _renaming_is_undone(client, admin)
            for tenant in ("rotated", "maintained", "updated"):
                assert [outcome for _, outcome in await told(client, tenant)] == [None]
                assert (await client.tenant(tenant).show()).name == tenant
                await _works(client, tenant)
            await _can_be_done_again(client)


async def _deletion_is_finished(client: Client, admin: Connection) -> None:
    async def gone() -> bool:
        return (await told(client, "deleted"))[-1] == ("tenant.delete", "done")

    await until(gone, what="the deletion is finished")
    assert [outcome for _, outcome in await told(client, "deleted")] == [None, "done"]
    assert await left(admin, "deleted") == []
    with pytest.raises(TenantNotFound):
        await client.tenant("deleted").show()


async def _renaming_is_undone(client: Client, admin: Connection) -> None:
    async def released() -> bool:
        return (await client.tenant("renamed").show()).held_for is None

    await until(released, what="the tenant is released")
    await _works(client, "renamed")
    assert await told(client, "renamed") == [("tenant.rename", None), ("tenant.release", "done")]
    assert (len(await left(admin, "renamed")), await left(admin, "initech")) == (3, [])


async def _can_be_done_again(client: Client) -> None:
    for tenant in ("renamed", "rotated", "maintained", "updated"):
        await VERBS[tenant](client)
    assert (await client.tenant("updated").show()).name == "Initech"
    await _works(client, "initech")
    await _works(client, "rotated")


async def _works(client: Client, tenant: str) -> None:
    run = await client.tenant(tenant).start("count")
    assert (await run.result(timeout=30)).error is None
