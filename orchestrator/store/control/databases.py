"""The databases of tenants that have one of their own, as another database of that server has it.

No statement here can be part of a transaction; each can be repeated.
"""

from __future__ import annotations

from contextlib import suppress

import asyncpg

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


async def named(connection: Connection, prefix: str) -> list[str]:
    """Return the databases whose name begins so."""
    return [row[0] for row in await connection.fetch(NAMED, prefix)]


async def lively(connection: Connection, prefix: str) -> dict[str, str]:
    """Return a text by database that is another one once somebody has written there."""
    return {row[0]: row[1] for row in await connection.fetch(LIVELY, prefix)}
