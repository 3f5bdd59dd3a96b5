"""Tenants on shards that have a new id here, and perhaps not yet there."""

from __future__ import annotations

from orchestrator.model.ids import TenantId
from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
PENDING = _QUERIES["pending"]
WAITING = _QUERIES["waiting"]
SETTLE = _QUERIES["settle"]


async def pending(connection: Connection, tenant: TenantId) -> TenantId | None:
    """Return the id that the tenant may still have on its shard; None when it is renamed there."""
    found: str | None = await connection.fetchval(PENDING, tenant)
    return None if found is None else TenantId(found)


async def waiting(connection: Connection) -> dict[TenantId, TenantId]:
    """Return, by tenant, the ids that tenants may still have on their shards."""
    rows = await connection.fetch(WAITING)
    return {TenantId(row["id"]): TenantId(row["renaming"]) for row in rows}


async def settle(connection: Connection, tenant: TenantId) -> None:
    """Note that the tenant is renamed on its shard, too, and let it go on."""
    await connection.execute(SETTLE, tenant)
