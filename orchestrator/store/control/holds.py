"""Tenants that a verb keeps quiet: no node serves them and nobody submits to them meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import msgspec

from orchestrator.model.errors import TenantHeld
from orchestrator.model.ids import TenantId
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.control import tenants
from orchestrator.store.control.tenants import TenantRow

_QUERIES = sql.load(__name__)
TAKE = _QUERIES["take"]
KEEP = _QUERIES["keep"]
KEEP_OFF = _QUERIES["keep_off"]
RELEASE = _QUERIES["release"]
ABANDONED = _QUERIES["abandoned"]


class Hold(msgspec.Struct, frozen=True):
    """One hold: of which tenant, for which verb, by which node's incarnation, since when."""

    tenant: TenantId
    verb: str
    node: UUID
    since: datetime


async def take(connection: Connection, tenant: TenantId, verb: str, node: UUID) -> Hold:
    """Hold a tenant; raises TenantHeld, or TenantNotFound when it is being deleted or was."""
    since: datetime | None = await connection.fetchval(TAKE, tenant, verb, node)
    if since is None:
        raise tenants.unfit(await tenants.fetch(connection, tenant))
    return Hold(tenant, verb, node, since)


async def keep(connection: Connection, hold: Hold) -> None:
    """Let nobody release `hold` before this transaction ends.

    Raises TenantHeld when it is not in force any more: this node was taken for dead.
    """
    if await connection.fetchrow(KEEP, hold.tenant, hold.node, hold.since) is None:
        raise TenantHeld(
            hold.tenant,
            hold.verb,
            f"tenant {hold.tenant!r} was released before its {hold.verb} had ended",
        )


async def keep_off(connection: Connection, tenant: TenantId) -> TenantRow:
    """Let nobody hold or delete the tenant before this transaction ends; return its row.

    Raises TenantHeld, or TenantNotFound when it is being deleted or was.
    """
    free = await connection.fetchrow(KEEP_OFF, tenant)
    row = await tenants.fetch(connection, tenant)
    if free is None:
        raise tenants.unfit(row)
    return row


async def release(connection: Connection, hold: Hold) -> None:
    """Let the tenant go on, if `hold` is still in force."""
    await connection.execute(RELEASE, hold.tenant, hold.node, hold.since)


async def abandoned(
    connection: Connection, node: UUID, holding: Iterable[TenantId] = ()
) -> list[Hold]:
    """Return the holds that nobody will release: a dead node's, and ours but for `holding`."""
    return [Hold(*row) for row in await connection.fetch(ABANDONED, node, [*holding])]
