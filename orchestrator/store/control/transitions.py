"""What became of tenants' supervisors: their last changes of state, and what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from orchestrator.model.api import Alert
from orchestrator.model.ids import TenantId
from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
RECORD = _QUERIES["record"]
TRIM = _QUERIES["trim"]
WRITTEN = _QUERIES["written"]

KEPT = 50
"""So many changes of state are kept of each tenant."""


class Change(msgspec.Struct, frozen=True):
    """One change of state, on the node that writes it, of the tenant of that `registration`."""

    registration: UUID
    at: datetime
    state: str
    reason: str
    next_at: datetime | None


class Stored(msgspec.Struct, frozen=True):
    """One change of state, on any node; the order is the query's."""

    at: datetime
    node: str
    state: str
    reason: str
    next_at: datetime | None


class Outlook(msgspec.Struct, frozen=True):
    """When a tenant is to be woken, which living node serves it, the limits that it is near to.

    `alerts` is None when nobody knows: the database did not answer.
    """

    wake_at: datetime | None = None
    served_by: str | None = None
    alerts: list[Alert] | None = None


async def record(connection: Connection, node: str, changes: Sequence[Change]) -> None:
    """Add changes, in their order, and drop those that are too old."""
    async with connection.transaction():
        await connection.execute(
            RECORD,
            [change.registration for change in changes],
            [change.at for change in changes],
            node,
            [change.state for change in changes],
            [change.reason for change in changes],
            [change.next_at for change in changes],
        )
        await connection.execute(TRIM, sorted({change.registration for change in changes}), KEPT)


async def written(
    connection: Connection, tenant: TenantId, windows: Mapping[str, timedelta]
) -> tuple[Outlook, list[Stored]]:
    """Return what is known of the tenant's future, and its last changes, newest first.

    `windows` are the quotas that warn, and how long an alert of each counts.
    """
    rows = await connection.fetch(WRITTEN, tenant, KEPT, [*windows], [*windows.values()])
    wake_at, served_by, near, *_ = rows[0]
    outlook = Outlook(wake_at, served_by, msgspec.json.decode(near or "[]", type=list[Alert]))
    return outlook, [Stored(*row[3:]) for row in rows if row["at"] is not None]
