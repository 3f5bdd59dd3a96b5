"""A tenant's schema that comes from elsewhere: a copy, until the registry says that it lives there.

The registry may be another database than the one that the copy is in, so two transactions end, one
after the other. A copy carries a mark until the second has ended: who finds a mark asks the
registry what became of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from orchestrator.lifecycle.provision import ProvisionSpec, lock_tenant
from orchestrator.model.ids import SCHEMA_PREFIX, TenantId, schema_of
from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
HAS_SCHEMA = _QUERIES["has_schema"]
MARK = _QUERIES["mark"]
UNMARK = _QUERIES["unmark"]
MARKED = _QUERIES["marked"]
EVERY_MARKED = _QUERIES["every_marked"]
DROP = _QUERIES["drop"]
HERE = _QUERIES["here"]
REVOKE_CONNECT = _QUERIES["revoke_connect"]
DROP_ROLE = _QUERIES["drop_role"]

ARRIVING = "a copy that the registry does not know yet"
"""How the comment on a schema begins that was copied and is not the tenant's yet."""

Owner: TypeAlias = Literal["tenant", "verb", "nobody"]
"""Whose a copy is: the tenant lives in it, a verb is at the tenant, or it was given up."""


async def make_way(connection: Connection, tenant: TenantId) -> None:
    """Drop a copy that was given up, in a transaction of the caller's that makes another."""
    schema = schema_of(tenant)
    if await connection.fetchval(MARKED, schema, ARRIVING):
        await connection.execute(sql.fill(DROP, schema=schema))


async def mark(connection: Connection, tenant: TenantId) -> None:
    """Mark the schema as a copy, in the transaction that has made it."""
    await note(connection, schema_of(tenant), ARRIVING)


async def note(connection: Connection, schema: str, what: str | None) -> None:
    """Have the comment on a schema say `what` it is since now, for those who look; or nothing."""
    if what is None:
        await connection.execute(sql.fill(UNMARK, schema=schema))
    else:
        text = f"{what}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        await connection.execute(sql.fill(MARK, schema=schema, mark=text))


async def settle(connection: Connection, tenant: TenantId) -> None:
    """Take the mark off the schema that the tenant lives in now."""
    if await connection.fetchval(MARKED, schema_of(tenant), ARRIVING):
        await connection.execute(sql.fill(UNMARK, schema=schema_of(tenant)))


async def marked(connection: Connection) -> list[TenantId]:
    """Return the tenants of which there is a copy in this database."""
    found = await connection.fetch(EVERY_MARKED, ARRIVING)
    return [TenantId(row[0].removeprefix(SCHEMA_PREFIX)) for row in found]


async def clear(
    connection: Connection,
    tenant: TenantId,
    spec: ProvisionSpec,
    owner: Callable[[], Awaitable[Owner]],
) -> Owner:
    """Settle a copy that has become the tenant's, or drop it if `owner` says that it is nobody's.

    Nobody makes the tenant here meanwhile; `owner` is asked then. What has no mark stays.
    """
    async with connection.transaction():
        await lock_tenant(connection, tenant, spec, anew=True)
        whose = await owner()
        if whose == "tenant":
            await settle(connection, tenant)
        elif whose == "nobody" and await connection.fetchval(MARKED, schema_of(tenant), ARRIVING):
            await drop_copy(connection, tenant, spec, schema_of(tenant))
        return whose


async def drop_copy(
    connection: Connection, tenant: TenantId, spec: ProvisionSpec, schema: str
) -> None:
    """Drop a schema, and the tenant's logins if they are not in use in another database.

    Roles are the server's: where the tenant lives in another database of it, they stay.
    """
    logins = spec.logins(tenant)
    await connection.execute(sql.fill(DROP, schema=schema))
    database = await connection.fetchval("SELECT current_database()")
    roles = await connection.fetch(HERE, [logins.engine, logins.app], spec.mark)
    for role, elsewhere in roles:
        if elsewhere:
            await connection.execute(sql.fill(REVOKE_CONNECT, database=database, role=role))
        else:
            await connection.execute(sql.fill(DROP_ROLE, role=role))
