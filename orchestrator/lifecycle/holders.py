"""Says who holds what of a tenant is not had: its tables, or what its supervisor waits for."""

from __future__ import annotations

from orchestrator.model.ids import TenantId, schema_of
from orchestrator.store import sql
from orchestrator.store.connect import Connection, Record

_QUERIES = sql.load(__name__)
HOLDERS = _QUERIES["holders"]
IN_THE_WAY = _QUERIES["in_the_way"]


async def holders(connection: Connection, tenant: TenantId) -> list[str]:
    """Return the sessions that hold a table of the tenant now, each in words."""
    return [_words(row) for row in await connection.fetch(HOLDERS, schema_of(tenant))]


async def in_the_way(connection: Connection, login: str) -> list[str]:
    """Return the sessions that those of a login wait for, each in words."""
    return [_words(row) for row in await connection.fetch(IN_THE_WAY, login)]


def _words(row: Record) -> str:
    since = f" since {row['since']:%H:%M:%S} UTC" if row["since"] else ""
    name = row["application_name"] or "no name"
    return f"process {row['pid']} ({row['usename']}, {name}, {row['state']}{since})"
