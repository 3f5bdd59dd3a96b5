"""Who serves which tenant: one row each, a new epoch at every change of owner."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from orchestrator.model.errors import DatabaseUnavailable, LeaseHeldElsewhere
from orchestrator.model.ids import TenantId
from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
CLAIM = _QUERIES["claim"]
HOLDER = _QUERIES["holder"]
RELEASE = _QUERIES["release"]
ABANDON = _QUERIES["abandon"]
ORPHANS = _QUERIES["orphans"]


class Lease(msgspec.Struct, frozen=True):
    """One ownership of a tenant; `left_by_the_dead` when the owner before is proven dead."""

    epoch: int
    left_by_the_dead: bool


async def claim(connection: Connection, tenant: TenantId, node: UUID) -> Lease:
    """Take the tenant under the next epoch; raises LeaseHeldElsewhere, or DatabaseUnavailable."""
    row = await connection.fetchrow(CLAIM, tenant, node)
    if row is None:
        holder = await connection.fetchval(HOLDER, tenant)
        if holder is None:
            # Let go of meanwhile, or we are late ourselves: it passes with the next renewal.
            raise DatabaseUnavailable(
                f"this node's row has expired, so it may not take tenant {tenant!r} yet"
            )
        raise LeaseHeldElsewhere(tenant, f"tenant {tenant!r} is served by node {holder!r}")
    return Lease(*row)


async def release(
    connection: Connection,
    tenant: TenantId,
    node: UUID,
    epoch: int,
    *,
    wake_at: datetime | None,
    reason: str = "",
) -> None:
    """Let go of the tenant, if it is ours under `epoch` still, and leave word when to wake it."""
    await connection.execute(RELEASE, tenant, node, epoch, wake_at, reason)


async def abandon(connection: Connection, tenant: TenantId, node: UUID, epoch: int) -> None:
    """Let go of a tenant that failed, if it is ours under `epoch` still: it is due at once."""
    await connection.execute(ABANDON, tenant, node, epoch)


async def orphans(connection: Connection, node: UUID) -> list[TenantId]:
    """Return the tenants whose owner is dead."""
    return [row[0] for row in await connection.fetch(ORPHANS, node)]
