"""A tenant in figures, read within a bounded time: what takes longer is left out and named."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

import anyio
import asyncpg
import msgspec

from orchestrator.model.figures import ErrorFigures, RunFigures, TableFigures, TenantFigures
from orchestrator.model.ids import TenantId, run_id_at, schema_of
from orchestrator.store import sql
from orchestrator.store.connect import Connection, Record

_QUERIES = sql.load(__name__)
RUNS = _QUERIES["runs"]
LATELY = _QUERIES["lately"]
ERRORS = _QUERIES["errors"]
TABLES = _QUERIES["tables"]
CONNECTIONS = _QUERIES["connections"]
COUNT_ROWS = _QUERIES["count_rows"]

_DAY = 86_400.0
_CLOCKS_DIFFER = 600.0
"""Seconds by which the clock that made a run's id may be behind the database's."""

_NOT_NOW = (
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.UndefinedTableError,  # dropped since we looked
)


async def read(
    connection: Connection,
    tenant: TenantId,
    roles: Sequence[str],
    *,
    seconds: float,
    exact: bool = False,
) -> TenantFigures:
    """Return the figures of a tenant that has tables; `exact` counts the rows of each as well.

    `connection` is one of its own under the admin login, whose lock_timeout says how long to wait
    for a locked table; `roles` are the tenant's logins.
    """
    reader = _Reader(connection, tenant, seconds)
    runs, lately = await reader.runs(), await reader.lately()
    found = TenantFigures(
        tenant=tenant,
        runs=runs,
        hour=lately.get("hour"),
        day=lately.get("day"),
        errors=await reader.errors(),
        connections=await reader.connections(roles),
    )
    tables = await reader.tables()
    if tables is not None and exact:
        tables = [await reader.counted(table) for table in tables]
    return msgspec.structs.replace(
        found,
        tables=tables,
        schema_bytes=None if tables is None else sum(table.bytes for table in tables),
        unread=reader.unread,
    )


class _Reader:
    """The queries of one call of `read`, which end together at one moment."""

    def __init__(self, connection: Connection, tenant: TenantId, seconds: float) -> None:
        self._connection = connection
        self._schema = schema_of(tenant)
        self._ends = anyio.current_time() + seconds
        self._since = run_id_at(time.time() - _DAY - _CLOCKS_DIFFER)
        self.unread: list[str] = []

    async def runs(self) -> dict[str, int] | None:
        rows = await self._fetch("runs", sql.bind(RUNS, self._schema))
        return None if rows is None else {row[0]: row[1] for row in rows}

    async def lately(self) -> dict[str, RunFigures]:
        rows = await self._fetch("hour, day", sql.bind(LATELY, self._schema), self._since)
        return {
            span: RunFigures(**dict(zip(RunFigures.__struct_fields__, figures, strict=True)))
            for span, *figures in rows or ()
        }

    async def errors(self) -> list[ErrorFigures] | None:
        rows = await self._fetch("errors", sql.bind(ERRORS, self._schema), self._since)
        return None if rows is None else [ErrorFigures(**dict(row)) for row in rows]

    async def connections(self, roles: Sequence[str]) -> int | None:
        rows = await self._fetch("connections", CONNECTIONS, roles)
        return None if rows is None else int(rows[0][0])

    async def tables(self) -> list[TableFigures] | None:
        rows = await self._fetch("tables", TABLES, self._schema)
        return None if rows is None else [TableFigures(**dict(row)) for row in rows]

    async def counted(self, table: TableFigures) -> TableFigures:
        query = sql.fill(COUNT_ROWS, schema=self._schema, table=table.name)
        rows = await self._fetch(f"rows of {table.name}", query)
        return table if rows is None else msgspec.structs.replace(table, rows=rows[0][0])

    async def _fetch(self, what: str, query: str, *args: object) -> list[Record] | None:
        left = int((self._ends - anyio.current_time()) * 1000)
        if left > 0:  # 0 would be no limit at all
            await self._connection.execute(f"SET statement_timeout = {left}")
            with suppress(*_NOT_NOW):
                return await self._connection.fetch(query, *args)
        self.unread.append(what)
        return None
