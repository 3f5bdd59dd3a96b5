"""Which daemons live: one row each, renewed by its keeper, judged by the database's clock alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec

from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
LOCK = _QUERIES["lock"]
REGISTER = _QUERIES["register"]
RENEW = _QUERIES["renew"]
BURY = _QUERIES["bury"]
LIVE = _QUERIES["live"]
RETIRE = _QUERIES["retire"]
LEAVE = _QUERIES["leave"]
LAST_SIGN = _QUERIES["last_sign"]
HOLDER = _QUERIES["holder"]
END_STRANGERS = _QUERIES["end_strangers"]

SESSION = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""Settings of the session that holds the lock: a machine that vanished is found out in seconds."""


class Holder(msgspec.Struct, frozen=True):
    """The session that holds a node's name; the order is the query's."""

    pid: int
    application: str | None
    address: str | None
    since: datetime | None

    def __str__(self) -> str:
        since = f"{self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else "?"
        return (
            f"process {self.pid} of the database server, application "
            f"{self.application or '?'!r}, from {self.address or 'a local socket'}, since {since}"
        )


async def lock(connection: Connection, name: str) -> bool:
    """Take the lock of the node's name for the life of `connection`.

    False when a living node has it.
    """
    taken: bool = await connection.fetchval(LOCK, name)
    return taken


async def last_sign(connection: Connection, name: str) -> datetime | None:
    """Return when a node of that name whose row has not expired renewed it; None without one."""
    found: datetime | None = await connection.fetchval(LAST_SIGN, name)
    return found


async def holder(connection: Connection, name: str) -> Holder | None:
    """Return who holds the lock of the name."""
    row = await connection.fetchrow(HOLDER, name)
    return Holder(*row) if row else None


async def end_strangers(connection: Connection, name: str) -> int:
    """End sessions of tenants' logins that took the lock, which only spite can; return how many.

    It ends none when our login may not do that.
    """
    try:
        count: int = await connection.fetchval(END_STRANGERS, name)
    except asyncpg.InsufficientPrivilegeError:
        return 0
    return count


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


async def live(connection: Connection) -> list[str]:
    """Return the names of the nodes that live and do not drain."""
    return [row[0] for row in await connection.fetch(LIVE)]


async def retire(connection: Connection, node: UUID) -> None:
    """Say that this incarnation takes no more tenants."""
    await connection.execute(RETIRE, node)


async def leave(connection: Connection, node: UUID) -> None:
    """Say that this incarnation has ended."""
    await connection.execute(LEAVE, node)
