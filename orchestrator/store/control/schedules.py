"""Since when tenants have which schedules, and when to wake them for the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from orchestrator.model.ids import TenantId
from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
DECLARE = _QUERIES["declare"]
REMIND = _QUERIES["remind"]
NOW = _QUERIES["now"]


class Since(msgspec.Struct, frozen=True):
    """Since when a schedule has had its times, and the database's time now."""

    tenant: TenantId
    name: str
    since: datetime
    now: datetime


async def declare(
    connection: Connection,
    schedules: Iterable[tuple[TenantId, str, str]],
    tenants: Sequence[TenantId],
) -> list[Since]:
    """Note the schedules of `tenants`: tenant, name, times of each. Others of them are gone."""
    rows = sorted(schedules)
    found = await connection.fetch(
        DECLARE,
        [tenant for tenant, _, _ in rows],
        [name for _, name, _ in rows],
        [times for _, _, times in rows],
        tenants,
    )
    return [Since(*row) for row in found]


async def remind(connection: Connection, due: Iterable[tuple[TenantId, datetime]]) -> None:
    """Have each tenant woken at that time, or earlier when it is to be woken earlier already."""
    rows = sorted(due)
    await connection.execute(REMIND, [tenant for tenant, _ in rows], [at for _, at in rows])


async def now(connection: Connection) -> datetime:
    """Return the database's time."""
    moment: datetime = await connection.fetchval(NOW)
    return moment
