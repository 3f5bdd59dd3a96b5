"""What all tenants have used, and which came near to a limit, as the control schema keeps it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from orchestrator.model.api import Alert
from orchestrator.model.usage import COUNTERS, Near, Span, Used
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.tenant.usage import HourUsed

_QUERIES = sql.load(__name__)
TELL = _QUERIES["tell"]
CONDENSE = _QUERIES["condense"]
PAGE = _QUERIES["page"]
OF_TENANT = _QUERIES["of_tenant"]
ALERT = _QUERIES["alert"]
ALERTS = _QUERIES["alerts"]
CURRENT = _QUERIES["current"]

HOURS_KEPT = timedelta(days=92)
"""Of older hours only the sums by day are kept: whoever bills by the quarter has its hours."""


class Told(msgspec.Struct, frozen=True):
    """What one ledger of a tenant counts in an hour, or in a day: `hours` has a bit for each."""

    ledger: UUID
    span: Span
    starts_at: datetime
    hours: int = 0
    submitted: int = 0
    input_bytes: int = 0
    succeeded: int = 0
    failed: int = 0
    dead: int = 0
    cancelled: int = 0
    attempts: int = 0
    task_ms: int = 0


class Wanted(msgspec.Struct, frozen=True):
    """Which part of the usage is wanted: from `since` until before `until`, by `span`.

    `after` is the tenant, time and registration of the last row that is known.
    """

    since: datetime
    until: datetime
    span: Span
    limit: int
    after: tuple[str, datetime, UUID] | None = None


class Owner(msgspec.Struct, frozen=True):
    """Under which epoch, and on which node, a tenant is served by who tells of it."""

    epoch: int
    node: UUID


async def tell(
    connection: Connection,
    tenant: str,
    registration: UUID,
    rows: Sequence[HourUsed],
    owner: Owner | None = None,
) -> bool:
    """Note the hours of one ledger as they are; told twice they count once.

    Returns False, with nothing noted, when the tenant is not this `owner`'s any more. Without one
    nobody serves it.
    """
    if not rows:
        return True
    columns = [[getattr(row, name) for row in rows] for name in ("hour", *COUNTERS)]
    epoch, node = (None, None) if owner is None else (owner.epoch, owner.node)
    noted: bool = await connection.fetchval(
        TELL, tenant, rows[0].ledger, *columns, epoch, node, registration
    )
    return noted


async def condense(connection: Connection, before: datetime, limit: int) -> int:
    """Make days of at most `limit` hours from before a moment; return how many hours."""
    count: int = await connection.fetchval(CONDENSE, before, limit)
    return count


async def page(connection: Connection, wanted: Wanted) -> list[Used]:
    """Return what all tenants used, by tenant and time; two that were called alike each theirs."""
    after = wanted.after or ("", wanted.since, UUID(int=0))
    rows = await connection.fetch(
        PAGE, wanted.since, wanted.until, wanted.span, *after, wanted.limit
    )
    return [Used(**dict(row)) for row in rows]


async def of_tenant(
    connection: Connection, registration: UUID, since: datetime, until: datetime
) -> list[Told]:
    """Return what one tenant used, ledger by ledger."""
    return [Told(*row) for row in await connection.fetch(OF_TENANT, registration, since, until)]


async def alert(connection: Connection, registration: UUID, near: Sequence[Near]) -> set[str]:
    """Note that a tenant came near to its limits; return those that nobody noted before."""
    columns = [[getattr(each, name) for each in near] for name in Near.__struct_fields__]
    return {row[0] for row in await connection.fetch(ALERT, registration, *columns)}


async def alerts(connection: Connection, registration: UUID, limit: int) -> list[Alert]:
    """Return the newest alerts of a tenant."""
    return [Alert(**dict(row)) for row in await connection.fetch(ALERTS, registration, limit)]


async def current(
    connection: Connection, windows: Mapping[str, timedelta], tenant: str | None = None
) -> Mapping[str, list[Alert]]:
    """Return the alerts of windows that are not over, by tenant: of all, or of one."""
    found: dict[str, list[Alert]] = defaultdict(list)
    for row in await connection.fetch(CURRENT, [*windows], [*windows.values()], tenant):
        found[row["tenant"]].append(Alert(**{name: row[name] for name in Alert.__struct_fields__}))
    return found
