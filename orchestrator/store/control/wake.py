"""The wake index: the next moment at which a dormant tenant has anything to do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import msgspec

from orchestrator.model.ids import TenantId
from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
DUE = _QUERIES["due"]
CONSUME = _QUERIES["consume"]

BATCH = 256
OVERDUE = timedelta(seconds=2)
"""A node that a tenant is better served by has so long to take it, before any other one does."""


class Due(msgspec.Struct, frozen=True):
    """A tenant that has something to do, and whether it had for longer than OVERDUE."""

    tenant: TenantId
    overdue: bool


async def due(
    connection: Connection, node: UUID, *, asleep: Sequence[TenantId], steady: bool = True
) -> list[Due]:
    """Return at most BATCH due tenants, longest overdue first.

    Those in `asleep` are left out, and those that a living node other than `node` serves; one
    whose row has merely expired counts as dead when we are `steady`.
    """
    rows = await connection.fetch(DUE, BATCH, asleep, node, steady, OVERDUE)
    return [Due(*row) for row in rows]


async def consume(connection: Connection, node: UUID, tenants: Sequence[TenantId]) -> None:
    """Take the due rows of tenants that are awake and have been told, if `node` has them still."""
    await connection.execute(CONSUME, tenants, node)
