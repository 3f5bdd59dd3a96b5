"""The caches of tenants on a server of their own: which there are, and which remain of old ones."""

from __future__ import annotations

from datetime import datetime

import msgspec

from orchestrator.model.ids import TenantId
from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
OPENED = _QUERIES["opened"]
REMAINING = _QUERIES["remaining"]
FORGET = _QUERIES["forget"]


class Remains(msgspec.Struct, frozen=True):
    """A cache that nobody can find any more: the schema that it belongs to is gone."""

    tenant: TenantId
    schema_number: int
    opened_at: datetime


async def opened(connection: Connection, tenant: TenantId, schema_number: int) -> None:
    """Note that there will be values of this schema, before there are any."""
    await connection.execute(OPENED, tenant, schema_number)


async def remaining(connection: Connection) -> list[Remains]:
    """Return the caches that are to be emptied."""
    return [Remains(*row) for row in await connection.fetch(REMAINING)]


async def forget(connection: Connection, remains: Remains) -> bool:
    """Forget a cache that is empty; tell whether it was still known, and not opened again."""
    found = await connection.fetchval(FORGET, *msgspec.structs.astuple(remains))
    return found is not None
