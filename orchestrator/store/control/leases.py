"""Who serves which tenant: one row each, a new epoch at every change of owner."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from orchestrator.model.errors import DatabaseUnavailable, LeaseHeldElsewhere, TenantHeld
from orchestrator.model.ids import TenantId
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.control import pauses
from orchestrator.store.tenant.runs import Pause

_QUERIES = sql.load(__name__)
CLAIM = _QUERIES["claim"]
HOLDER = _QUERIES["holder"]
OBSTACLE = _QUERIES["obstacle"]
HELD_FOR = _QUERIES["held_for"]
OVERTAKE = _QUERIES["overtake"]
FENCE = _QUERIES["fence"]
RELEASE = _QUERIES["release"]
ABANDON = _QUERIES["abandon"]
ORPHANS = _QUERIES["orphans"]


class Lease(msgspec.Struct, frozen=True):
    """One ownership of a tenant; `left_by_the_dead` when the owner before is proven dead.

    `pauses` are those that an owner told last.
    """

    epoch: int
    left_by_the_dead: bool
    pauses: list[Pause]


async def claim(
    connection: Connection, tenant: TenantId, node: UUID, *, steady: bool = True
) -> Lease:
    """Take the tenant under the next epoch.

    An owner whose row has merely expired counts as dead when we are `steady`. Raises
    LeaseHeldElsewhere, TenantHeld, or DatabaseUnavailable when it is too early to tell, also for
    our own row.
    """
    row = await connection.fetchrow(CLAIM, tenant, node, steady)
    if row is not None:
        epoch, died, paused = row
        return Lease(epoch, died, pauses.read(paused))
    obstacle = await connection.fetchrow(OBSTACLE, tenant, node)
    if obstacle is None:
        verb = await connection.fetchval(HELD_FOR, tenant)
        if verb is not None:
            raise TenantHeld(tenant, verb)
        # Let go of meanwhile, or we are late ourselves: it passes with the next renewal.
        raise DatabaseUnavailable(
            f"this node's row has expired, so it may not take tenant {tenant!r} yet"
        )
    name, alive = obstacle
    if alive:
        raise LeaseHeldElsewhere(tenant, f"tenant {tenant!r} is served by node {name!r}")
    raise DatabaseUnavailable(
        f"tenant {tenant!r} belongs to node {name!r}, which is silent; after an outage it gets as "
        "long to come back as a node lives",
        retry_after=5.0,
    )


async def holder(connection: Connection, tenant: TenantId) -> str | None:
    """Return the name of the living node that has the tenant, None when nobody does."""
    name: str | None = await connection.fetchval(HOLDER, tenant)
    return name


async def overtake(
    control: Connection, tenant: TenantId, node: UUID, epoch: int, *, fence: int
) -> int | None:
    """Raise the epoch of a lease that is ours above the tenant's `fence`; None if it is not ours.

    Only whoever has found the fence ahead of `epoch` may do so.
    """
    found: int | None = await control.fetchval(OVERTAKE, tenant, node, epoch, fence)
    return found


async def fence(connection: Connection, schema: str) -> int:
    """Return the epoch that may write in the tenant's tables."""
    epoch: int = await connection.fetchval(sql.bind(FENCE, schema))
    return epoch


async def release(
    connection: Connection,
    tenant: TenantId,
    node: UUID,
    epoch: int,
    *,
    wake_at: datetime | None,
    paused: Sequence[Pause] = (),
) -> None:
    """Let go of the tenant, if it is ours under `epoch` still.

    Leaves word when to wake it, and what of it is `paused`.
    """
    await connection.execute(RELEASE, tenant, node, epoch, wake_at, pauses.written(paused))


async def abandon(connection: Connection, tenant: TenantId, node: UUID, epoch: int) -> None:
    """Let go of a tenant that failed, if it is ours under `epoch` still: it is due at once."""
    await connection.execute(ABANDON, tenant, node, epoch)


async def orphans(
    connection: Connection,
    node: UUID,
    *,
    steady: bool = True,
    served: Sequence[TenantId] = (),
) -> list[TenantId]:
    """Return the tenants whose owner is dead (see `claim`), or is `node` without serving them."""
    return [row[0] for row in await connection.fetch(ORPHANS, node, steady, served)]
