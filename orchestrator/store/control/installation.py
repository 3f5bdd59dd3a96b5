"""The key that the installation goes by: its name alone, so that all nodes have the same."""

from __future__ import annotations

from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
LOCK_KEY = _QUERIES["lock_key"]
SET_KEY = _QUERIES["set_key"]
LIVING = _QUERIES["living"]
BURY_EXPIRED = _QUERIES["bury_expired"]


async def lock_key(connection: Connection) -> str | None:
    """Return the name of the key in force, which nobody changes before this transaction ends."""
    found: str | None = await connection.fetchval(LOCK_KEY)
    return found


async def set_key(connection: Connection, key: str, *, node: str) -> None:
    """Have another key be in force from now on; nodes that have expired do not come back."""
    await connection.execute(SET_KEY, key)
    await connection.execute(BURY_EXPIRED, node)


async def living(connection: Connection, *, beside: str) -> list[str]:
    """Return the names of the nodes that live, but for one."""
    return [row[0] for row in await connection.fetch(LIVING, beside)]
