"""Tenants in figures as they were last read, and which of them are to be read again."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from orchestrator.model.figures import TenantFigures
from orchestrator.model.ids import TenantId
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.control.tenants import TenantRow

_QUERIES = sql.load(__name__)
TAKE = _QUERIES["take"]
STORE = _QUERIES["store"]
FALL_DUE = _QUERIES["fall_due"]
FETCH_ALL = _QUERIES["fetch_all"]

FAILED = ("failed", "dead")


class Taken(msgspec.Struct, frozen=True):
    """A tenant that is this node's to read until a moment of the database's clock."""

    tenant: TenantId
    until: datetime


class KeptFigures(msgspec.Struct, frozen=True):
    """What is kept of one tenant; `read_at` is null when it was never read.

    `used` is false before it has tables, `age` seconds since it was read, `quiet` true when nothing
    can have been accepted within the last day. The order is the query's.
    """

    tenant: TenantId
    used: bool
    last_active_at: datetime | None
    quiet: bool
    read_at: datetime | None
    age: float | None
    runs: int | None
    failed: int | None
    day_accepted: int | None
    day_succeeded: int | None
    day_failed: int | None
    day_p50: float | None
    day_p95: float | None
    schema_bytes: int | None
    tables: int | None
    estimated_rows: int | None
    rows: int | None
    rows_counted_at: datetime | None


async def take(connection: Connection, seconds: float) -> Taken | None:
    """Return a tenant whose figures are to be read, None when there is none.

    For so many seconds no other node takes it.
    """
    row = await connection.fetchrow(TAKE, timedelta(seconds=seconds))
    return None if row is None else Taken(*row)


async def store(
    connection: Connection,
    row: TenantRow,
    found: TenantFigures,
    *,
    age: float,
    taken: Taken | None = None,
) -> None:
    """Keep what was `found`, `age` seconds ago, of the tenant of `row`, unless it is gone by now.

    When it was `taken` for that it is not due any more, but for what has changed since.
    """
    day, tables = found.day, found.tables
    counted = None if tables is None else [table.rows for table in tables]
    await connection.execute(
        STORE,
        row.id,
        row.provisioned_at,
        row.shard,
        None if taken is None else taken.until,
        age,
        None if found.runs is None else sum(found.runs.values()),
        None if found.runs is None else sum(found.runs.get(state, 0) for state in FAILED),
        *((None,) * 5 if day is None else msgspec.structs.astuple(day)),
        found.schema_bytes,
        None if tables is None else len(tables),
        None if tables is None else sum(table.estimated_rows for table in tables),
        None if counted is None or None in counted else sum(filter(None, counted)),
    )


async def fall_due(connection: Connection, tenant: TenantId) -> None:
    """Have a tenant read soon whose tables were changed though nobody used it."""
    await connection.execute(FALL_DUE, tenant)


async def fetch_all(connection: Connection) -> list[KeptFigures]:
    """Return every tenant that was not removed, in no order."""
    return [KeptFigures(*row) for row in await connection.fetch(FETCH_ALL)]
