"""What the wake index holds, as a test compares it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from orchestrator.model.ids import TenantId
from orchestrator.store.connect import Connection
from orchestrator.store.control import wake


async def due_tenants(
    connection: Connection, node: UUID, *, asleep: Sequence[TenantId] = (), steady: bool = True
) -> list[TenantId]:
    """Return the tenants that `node` finds due, longest overdue first."""
    found = await wake.due(connection, node, asleep=asleep, steady=steady)
    return [each.tenant for each in found]
