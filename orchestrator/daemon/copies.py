"""Drops the copies of a tenant where it does not live: kept after a move, or left by one."""

from __future__ import annotations

import structlog
from msgspec import structs

from orchestrator.daemon.errands import Errands
from orchestrator.daemon.tenants import Tenants
from orchestrator.lifecycle.move import drop_arrived, drop_kept
from orchestrator.model.errors import DatabaseRefused, DatabaseUnavailable
from orchestrator.model.ids import CONTROL_SHARD
from orchestrator.store.control.tenants import TenantRow

log = structlog.get_logger(__name__)


async def drop_kept_copy(tenants: Tenants, errands: Errands, row: TenantRow) -> None:
    """Drop what is kept of a tenant where it has moved from; done twice it is done once."""
    if row.moved_from is None:
        return
    kept = at(row, row.moved_from)
    if await tenants.shards.is_there(kept):
        async with errands.connection("move", kept, lock_timeout="10s") as connection:
            await drop_kept(connection, row.id, tenants.spec)
    await tenants.shards.drop_database(kept)


async def drop_arrived_copies(tenants: Tenants, errands: Errands, row: TenantRow) -> None:
    """Drop what a move that did not come to its end has left where the tenant does not live.

    A shard that is away keeps nobody from being deleted: the log tells of it.
    """
    shards = tenants.shards
    for name in sorted({CONTROL_SHARD, *shards.others} - {row.shard}):
        place = at(row, name)
        if shards.target_of(place) == shards.target_of(row):
            continue
        try:
            shards.check(name)
            if not await shards.is_there(place):
                continue
            async with errands.connection("move", place, lock_timeout="10s") as there:
                nothing_left = await drop_arrived(there, row.id, tenants.spec)
            if nothing_left:
                await shards.drop_database(place)
        except (DatabaseUnavailable, DatabaseRefused) as error:
            log.warning("tenant.shard_not_looked_at", tenant=row.id, error=str(error))


def at(row: TenantRow, shard: str) -> TenantRow:
    """Return the row as if the tenant lived on `shard`: what says where to connect."""
    return structs.replace(row, shard=shard)
