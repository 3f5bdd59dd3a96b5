"""Ends the renaming of tenants on shards, of which the registry has told first."""

from __future__ import annotations

import structlog

from orchestrator.daemon.errands import Errands
from orchestrator.daemon.tenants import Tenants
from orchestrator.lifecycle.rename import complete
from orchestrator.model.ids import TenantId
from orchestrator.store.control import renames
from orchestrator.store.control import shards as copies
from orchestrator.store.shards import Place

LOCK_TIMEOUT = "10s"

log = structlog.get_logger(__name__)


async def finish(tenants: Tenants, tenant: TenantId) -> None:
    """Have the tenant's own database call it as the registry does, and let it go on.

    Done again it is done; nothing is to be done for most. Raises DatabaseUnavailable,
    SchemaConflict and what the database says, with the tenant held: the next call goes on.
    """
    shards, errands = tenants.shards, Errands(tenants.shards)
    async with shards.control.acquire() as connection:
        old = await renames.pending(connection, tenant)
    if old is None:
        return
    row = await shards.row(tenant)
    before = Place(old, row.shard)
    there = before if await shards.is_there(before) else row
    async with errands.pair("renaming", there, lock_timeout=LOCK_TIMEOUT) as (control, server):
        await complete(control, server, old, row, tenants.spec)
        await copies.copy(server, await copies.of_tenants(control, [old, tenant]))
    if (shard := shards.of(row.shard)) is not None:
        await shard.rename_database(old, tenant)
    async with shards.control.acquire() as connection:
        await renames.settle(connection, tenant)
    await tenants.refresh()
    if old in tenants.snapshot.tenants:
        # A file has declared it meanwhile: it begins anew.
        await tenants.publish()
    log.info("tenant.renamed_on_shard", tenant=tenant, shard=row.shard, was=old)
