"""The wake index: the next moment at which a dormant tenant has anything to do."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from orchestrator.model.ids import TenantId
from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
DUE = _QUERIES["due"]
CONSUME = _QUERIES["consume"]

BATCH = 256


async def due(
    connection: Connection, node: UUID, *, asleep: Sequence[TenantId], steady: bool = True
) -> list[TenantId]:
    """Return at most BATCH due tenants, longest overdue first.

    Those in `asleep` are left out, and those that a living node other than `node` serves; one
    whose row has merely expired counts as dead when we are `steady`.
    """
    return [row[0] for row in await connection.fetch(DUE, BATCH, asleep, node, steady)]


async def consume(connection: Connection, node: UUID, tenants: Sequence[TenantId]) -> None:
    """Take the due rows of tenants that are awake and have been told, if `node` has them still."""
    await connection.execute(CONSUME, tenants, node)
