"""Cares for a tenant's tables: dead rows away, fresh statistics, and a look into the indexes.

Each statement stands alone and can be repeated, so that an end at any moment leaves nothing to
mend. The tenant goes on meanwhile; who holds a table for longer is not waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import asyncpg
import msgspec

from orchestrator.model.ids import TenantId, schema_of
from orchestrator.model.maintenance import MaintenanceReport, TableCare
from orchestrator.model.progress import Progress, Report, unheard
from orchestrator.store import sql
from orchestrator.store.connect import Connection, classify

_QUERIES = sql.load(__name__)
TABLES = _QUERIES["tables"]
VACUUM = _QUERIES["vacuum"]
BYTES = _QUERIES["bytes"]
AMCHECK = _QUERIES["amcheck"]
INDEXES = _QUERIES["indexes"]
CHECK_INDEX = _QUERIES["check_index"]

_CORRUPT = (asyncpg.IndexCorruptedError, asyncpg.DataCorruptedError)
_NOT_NOW = {
    asyncpg.LockNotAvailableError: "somebody else holds it",
    asyncpg.QueryCanceledError: "it took longer than it may",
    asyncpg.UndefinedTableError: "it was dropped",
    asyncpg.InsufficientPrivilegeError: "the admin login may not",
}


async def maintain(
    connection: Connection,
    tenant: TenantId,
    *,
    after: str = "",
    seconds: float,
    report: Report = unheard,
) -> MaintenanceReport:
    """Care for the tables that come `after`, by name, and begin none once `seconds` are over.

    `connection` is one of its own, whose lock_timeout and statement_timeout bound each statement.
    At least one table is cared for, so whoever asks again comes to an end. Each is reported.
    """
    ends = anyio.current_time() + seconds
    schema = schema_of(tenant)
    every = await connection.fetch(TABLES, schema)
    tables = [(oid, name) for oid, name in every if name.encode() > after.encode()]
    before = len(every) - len(tables)
    amcheck: str | None = await connection.fetchval(AMCHECK)
    done: list[TableCare] = []
    for oid, name in tables:
        report(Progress(f"table {name}", before + len(done), len(every), "tables"))
        done.append(await _Table(connection, schema, oid, name).care(amcheck))
        if anyio.current_time() >= ends:
            break
    return MaintenanceReport(tenant=tenant, tables=done, left=len(tables) - len(done))


class _Table:
    """One table that is cared for."""

    def __init__(self, connection: Connection, schema: str, oid: int, name: str) -> None:
        self._connection = connection
        self._schema = schema
        self._oid = oid
        self._care = TableCare(
            name=name, vacuumed=False, seconds=0.0, bytes_before=0, bytes_after=0
        )

    async def care(self, amcheck: str | None) -> TableCare:
        """Do all there is to do; tell what can not be done now."""
        began = anyio.current_time()
        try:
            await self._vacuum()
            if amcheck is not None:
                await self._check(amcheck)
        except asyncpg.PostgresError as error:
            known = _NOT_NOW.get(type(error))
            if known is None and classify(error) is not None:
                raise
            self._note(problem=f"{known}: {error}" if known else str(error))
        self._note(seconds=anyio.current_time() - began)
        return self._care

    async def _vacuum(self) -> None:
        before = await self._connection.fetchval(BYTES, self._oid)
        self._note(bytes_before=before, bytes_after=before)
        with _warnings(self._connection) as warnings:
            await self._connection.execute(
                sql.fill(VACUUM, schema=self._schema, table=self._care.name)
            )
        self._note(
            vacuumed=not warnings,
            bytes_after=await self._connection.fetchval(BYTES, self._oid),
            problem="; ".join(warnings) or None,
        )

    async def _check(self, amcheck: str) -> None:
        corrupt: list[str] = []
        indexes = await self._connection.fetch(INDEXES, self._oid)
        for number, (oid, name) in enumerate(indexes, start=1):
            try:
                await self._connection.execute(sql.fill(CHECK_INDEX, schema=amcheck), oid)
            except _CORRUPT as error:
                corrupt.append(f"{name}: {error}")
            self._note(checked=number, corrupt=corrupt)

    def _note(self, **fields: object) -> None:
        self._care = msgspec.structs.replace(self._care, **fields)


@contextmanager
def _warnings(connection: Connection) -> Iterator[list[str]]:
    """Collect what the server warns of: a table that is not ours to vacuum is no error to it."""
    found: list[str] = []

    def listen(_: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.severity_en == "WARNING":
            found.append(str(message))

    connection.add_log_listener(listen)
    try:
        yield found
    finally:
        connection.remove_log_listener(listen)
