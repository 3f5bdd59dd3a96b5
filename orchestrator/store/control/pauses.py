"""Which tenants are paused, as their owners have told it: also those that sleep."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from orchestrator.model.ids import TenantId
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.tenant.runs import Pause

_QUERIES = sql.load(__name__)
TELL = _QUERIES["tell"]
ALL_PAUSED = _QUERIES["all_paused"]


class Paused(msgspec.Struct, frozen=True):
    """What of a tenant is paused."""

    tenant: TenantId
    pauses: list[Pause]


def written(pauses: Sequence[Pause]) -> str:
    """Return how they are kept in a lease."""
    return msgspec.json.encode(pauses).decode()


def read(text: str) -> list[Pause]:
    """Return what `written` has made."""
    return msgspec.json.decode(text, type=list[Pause])


async def tell(
    connection: Connection, tenant: str, node: UUID, epoch: int, pauses: Sequence[Pause]
) -> None:
    """Note what is paused, if the tenant is the node's under `epoch` still."""
    await connection.execute(TELL, tenant, node, epoch, written(pauses))


async def all_paused(connection: Connection) -> list[Paused]:
    """Return the tenants of which anything is paused, by id."""
    rows = await connection.fetch(ALL_PAUSED)
    return [Paused(tenant, read(pauses)) for tenant, pauses in rows]
