"""Says who holds the tables of a tenant, when they are not had."""

from __future__ import annotations

from orchestrator.model.ids import TenantId, schema_of
from orchestrator.store import sql
from orchestrator.store.connect import Connection, Record

HOLDERS = sql.load(__name__)["holders"]


async def holders(connection: Connection, tenant: TenantId) -> list[str]:
    """Return the sessions that hold a table of the tenant now, each in words."""
    return [_words(row) for row in await connection.fetch(HOLDERS, schema_of(tenant))]


def _words(row: Record) -> str:
    since = f" since {row['since']:%H:%M:%S} UTC" if row["since"] else ""
    name = row["application_name"] or "no name"
    return f"process {row['pid']} ({row['usename']}, {name}, {row['state']}{since})"
