"""The databases of tenants that have one of their own, as another database of that server has it.

No statement here can be part of a transaction; each can be repeated.
"""

from __future__ import annotations

from contextlib import suppress

import asyncpg

from orchestrator.model.errors import LockNotHad
from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
EXISTS = _QUERIES["exists"]
CREATE = _QUERIES["create"]
CLOSE = _QUERIES["close"]
IS_READY = _QUERIES["is_ready"]
DROP = _QUERIES["drop"]
LIVELY = _QUERIES["lively"]
DROP_UNUSED = _QUERIES["drop_unused"]
NAMED = _QUERIES["named"]
SEND_AWAY = _QUERIES["send_away"]
RENAME = _QUERIES["rename"]

_MADE_MEANWHILE = (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError)
"""By another node."""


async def create(connection: Connection, name: str) -> None:
    """Make the database if it is not there, and close it to everybody but its owner."""
    if not await exists(connection, name):
        with suppress(*_MADE_MEANWHILE):
            await connection.execute(sql.fill(CREATE, database=name))
    await connection.execute(sql.fill(CLOSE, database=name))


async def exists(connection: Connection, name: str) -> bool:
    """Return whether there is such a database."""
    found: bool = await connection.fetchval(EXISTS, name)
    return found


async def is_ready(connection: Connection) -> bool:
    """Return whether the database that `connection` leads to has its control schema."""
    found: bool = await connection.fetchval(IS_READY)
    return found


async def drop(connection: Connection, name: str) -> None:
    """Drop the database if it is there, whoever is connected to it."""
    await connection.execute(sql.fill(DROP, database=name))


async def drop_unused(connection: Connection, name: str) -> None:
    """Drop the database if it is there, unless somebody is connected to it."""
    with suppress(asyncpg.ObjectInUseError):
        await connection.execute(sql.fill(DROP_UNUSED, database=name))


async def rename(connection: Connection, old: str, new: str) -> None:
    """Give a database another name, if it has not got it yet; sessions of applications end.

    Raises LockNotHad when somebody of ours is connected for longer than five seconds.
    """
    if not await exists(connection, old):
        return
    await connection.fetchval(SEND_AWAY, old)
    try:
        await connection.execute(sql.fill(RENAME, database=old, renamed=new))
    except asyncpg.ObjectInUseError as error:
        raise LockNotHad(
            f"the database {old!r} can not be renamed now: {' '.join(str(error).split())}",
            hint="it is tried again until they are gone: see pg_stat_activity",
        ) from error


async def named(connection: Connection, prefix: str) -> list[str]:
    """Return the databases whose name begins so."""
    return [row[0] for row in await connection.fetch(NAMED, prefix)]


async def lively(connection: Connection, prefix: str) -> dict[str, str]:
    """Return a text by database that is another one once somebody has written there."""
    return {row[0]: row[1] for row in await connection.fetch(LIVELY, prefix)}
