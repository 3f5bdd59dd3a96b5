"""Dead letters: what failed for good, listed and given up.

Read and written over the control connections: a finished run has no owner who could disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.tenant.runs import Listed

_QUERIES = sql.load(__name__)
PAGE = _QUERIES["page"]
OLDEST = _QUERIES["oldest"]
COUNT = _QUERIES["count"]
DISCARD = _QUERIES["discard"]


async def page(
    connection: Connection, schema: str, *, limit: int, cursor: UUID | None
) -> list[Listed]:
    """Return one page of dead letters, newest first; `cursor` is the last id of the one before."""
    rows = await connection.fetch(sql.bind(PAGE, schema), cursor, limit)
    return [Listed(*row) for row in rows]


async def oldest(connection: Connection, schema: str, limit: int) -> list[UUID]:
    """Return at most `limit` dead letters, oldest first."""
    return [row[0] for row in await connection.fetch(sql.bind(OLDEST, schema), limit)]


async def count(connection: Connection, schema: str) -> int:
    """Return how many dead letters there are."""
    return int(await connection.fetchval(sql.bind(COUNT, schema)))


async def discard(connection: Connection, schema: str, runs: Sequence[UUID]) -> list[UUID]:
    """Mark `runs` as given up; return those that had failed, the others are left alone."""
    return [row[0] for row in await connection.fetch(sql.bind(DISCARD, schema), runs)]
