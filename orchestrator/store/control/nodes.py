"""Which daemons live: one row each, renewed by its keeper, judged by the database's clock alone."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
LOCK = _QUERIES["lock"]
REGISTER = _QUERIES["register"]
RENEW = _QUERIES["renew"]
BURY = _QUERIES["bury"]
LEAVE = _QUERIES["leave"]


async def lock(connection: Connection, name: str) -> bool:
    """Take the lock of the node's name for the life of `connection`.

    False when a living node has it.
    """
    taken: bool = await connection.fetchval(LOCK, name)
    return taken


async def register(connection: Connection, node: UUID, name: str, lifetime: timedelta) -> None:
    """Say that this incarnation lives for another `lifetime`."""
    await connection.execute(REGISTER, node, name, lifetime)


async def renew(connection: Connection, node: UUID, lifetime: timedelta) -> bool:
    """Say so again; False when this incarnation was declared dead meanwhile: that is for good."""
    alive: bool | None = await connection.fetchval(RENEW, node, lifetime)
    return bool(alive)


async def bury(connection: Connection, node: UUID, name: str) -> int:
    """Declare older incarnations of our name dead; the caller holds the name's lock."""
    count: int = await connection.fetchval(BURY, node, name)
    return count


async def leave(connection: Connection, node: UUID) -> None:
    """Say that this incarnation has ended."""
    await connection.execute(LEAVE, node)
