"""Takes a tenant away: its finished runs into a file if wanted, then its schema and its logins.

Every step can be repeated, and only the last transaction drops anything: an end at any moment
leaves the tenant whole or gone, and the next call goes on from there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from orchestrator.lifecycle.holders import look_for_holders
from orchestrator.lifecycle.provision import ProvisionSpec
from orchestrator.lifecycle.results import FORMAT, ResultsFile
from orchestrator.lifecycle.sealing import opener
from orchestrator.lifecycle.transfer.dump import TABLES
from orchestrator.lifecycle.usage import settle_usage
from orchestrator.model.errors import (
    LeaseHeldElsewhere,
    RemovalIncomplete,
    SchemaConflict,
    TenantInUse,
    TenantNotFound,
)
from orchestrator.model.ids import TenantId, schema_of
from orchestrator.model.progress import Progress, Report, unheard
from orchestrator.store import sql, sqlstate
from orchestrator.store.connect import Connection, translated
from orchestrator.store.control import leases, tenants
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.tenant.payloads import COLUMNS, Payloads

_QUERIES = sql.load(__name__)
SHUT_OUT = _QUERIES["shut_out"]
SEND_AWAY = _QUERIES["send_away"]
BEGIN = _QUERIES["begin"]
HOLD_RUNS = _QUERIES["hold_runs"]
HOLD_TABLE = _QUERIES["hold_table"]
UNFINISHED = _QUERIES["unfinished"]
DEPENDENTS = _QUERIES["dependents"]
DROP_SCHEMA = _QUERIES["drop_schema"]
DROP_ROLE = _QUERIES["drop_role"]
OURS = _QUERIES["ours"]
LEFT = _QUERIES["left"]
HAS_SCHEMA = _QUERIES["has_schema"]
FINISHED_RUNS = _QUERIES["finished_runs"]

_LOT = 500

_IN_THE_WAY = {
    sqlstate.DEPENDENT_OBJECTS_STILL_EXIST: (
        "drop or revoke what is named there, and delete it again"
    ),
    **dict.fromkeys(sqlstate.NOT_IN_TIME, look_for_holders("delete")),
}
"""What keeps the last transaction from dropping anything, and what to do about it."""

TAKE_ALONG = "take them along"
"""What becomes of unfinished runs when archiving is forced."""

Whole: TypeAlias = Callable[[Path], Awaitable[int]]
"""Writes all of the tenant into a file and reads it back; returns how many rows there are."""


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken away; `results` is the file with the finished runs, if they were kept.

    `left` is the archive of a tenant that was archived, if it is on another node.
    """

    schema: str | None = None
    roles: list[str] = []
    runs_kept: int = 0
    rows_kept: int = 0
    results: Path | None = None
    left: Path | None = None


async def has_schema(connection: Connection, tenant: TenantId) -> bool:
    """Return whether the tenant has tables."""
    found: bool = await connection.fetchval(HAS_SCHEMA, schema_of(tenant))
    return found


async def unfinished(connection: Connection, tenant: TenantId) -> int:
    """Return how many runs of the tenant have not finished; 0 when it has no tables."""
    if not await has_schema(connection, tenant):
        return 0
    count: int = await connection.fetchval(sql.bind(UNFINISHED, schema_of(tenant)))
    return count


async def remove(  # noqa: PLR0913 - most of them may be left out
    connection: Connection,
    row: TenantRow,
    spec: ProvisionSpec,
    *,
    archive: Path | None = None,
    whole: Whole | None = None,
    control: Connection | None = None,
    report: Report = unheard,
) -> Removed:
    """Drop the tenant of `row`, which is marked as being deleted, and make its row a tombstone.

    `control` leads to the registry, if `connection` does not: then that is left to the caller.
    `archive` is where its finished runs are kept, or all of it with `whole`, and then its row tells
    so. Unless it is forced, unfinished runs keep it.
    Raises TenantInUse, LeaseHeldElsewhere, SchemaConflict, StorageFailed, RemovalIncomplete,
    TenantNotFound when another node has ended this deletion, and what the database says.
    """
    work = _Removal(connection, row, spec, report, control or connection)
    with translated(
        f"tenant {row.id!r} can not be deleted now",
        hint="the admin login needs CREATEROLE and INHERIT",
    ):
        try:
            return await work.run(archive, whole)
        except asyncpg.PostgresError as error:
            hint = _IN_THE_WAY.get(error.sqlstate or "")
            if hint is None:
                raise
            why = " ".join(str(error).split())
            raise SchemaConflict(
                row.id, f"tenant {row.id!r} can not be deleted: {why}", hint=hint
            ) from error


class _Removal:
    """One call of `remove`."""

    def __init__(
        self,
        connection: Connection,
        row: TenantRow,
        spec: ProvisionSpec,
        report: Report,
        control: Connection,
    ) -> None:
        self._connection = connection
        self._control = control
        self._tenant = row.id
        self._row = row
        self._spec = spec
        self._report = report
        logins = spec.logins(row.id)
        self._roles = [logins.engine, logins.app]

    async def run(self, archive: Path | None, whole: Whole | None) -> Removed:
        served_by = await leases.holder(self._control, self._tenant)
        if served_by is not None:
            raise LeaseHeldElsewhere(
                self._tenant, f"tenant {self._tenant!r} is still served by node {served_by!r}"
            )
        async with self._connection.transaction():
            await self._begin()
            roles = await self._shut_out()
        await self._connection.fetchval(SEND_AWAY, roles)
        async with self._connection.transaction():
            await self._begin()
            removed = await self._drop(roles, archive, whole)
            if self._control is self._connection:
                kept = str(archive) if removed.schema and whole else None
                await tenants.bury(self._control, self._tenant, kept)
        await self._verify()
        return removed

    async def _begin(self) -> None:
        """Wait for whoever provisions or deletes the tenant, and see what came of it."""
        await self._connection.execute(sql.fill(BEGIN, tenant=self._tenant))
        if not await tenants.is_still_deleting(self._control, self._row):
            raise TenantNotFound(self._tenant)

    async def _shut_out(self) -> list[str]:
        """Return the roles that are there, as which nobody logs in any more."""
        roles = [each[0] for each in await self._connection.fetch(OURS, self._roles, self._mark)]
        for role in roles:
            await self._connection.execute(sql.fill(SHUT_OUT, role=role))
        return roles

    async def _drop(self, roles: list[str], archive: Path | None, whole: Whole | None) -> Removed:
        ours = await self._connection.fetchval(HAS_SCHEMA, self._row.schema_name)
        kept = rows = 0
        if ours:
            await self._hold(whole)
            await self._check_dependents()
            if not self._row.forced:
                await self._check_unfinished()
            if archive is not None and whole is not None:
                rows = await whole(archive)
            elif archive is not None:
                kept = await ResultsFile(archive).write(self._header(), self._finished())
            await settle_usage(self._connection, self._control, self._row, self._row.schema_name)
            self._report(Progress("dropping its schema and logins"))
            drop = sql.fill(DROP_SCHEMA, schema=self._row.schema_name)
            await self._connection.execute(drop)
        for role in roles:
            await self._connection.execute(sql.fill(DROP_ROLE, role=role))
        return Removed(
            schema=self._row.schema_name if ours else None,
            roles=roles,
            runs_kept=kept,
            rows_kept=rows,
            results=archive if ours else None,
        )

    async def _hold(self, whole: Whole | None) -> None:
        """Let nobody write any more; where all is kept, who writes it down may read."""
        schema = self._row.schema_name
        if whole is None:
            await self._connection.execute(sql.bind(HOLD_RUNS, schema))
            return
        for name, _, _ in await self._connection.fetch(TABLES, schema):
            await self._connection.execute(sql.fill(HOLD_TABLE, schema=schema, table=name))

    @property
    def _mark(self) -> str:
        return self._spec.mark

    async def _check_dependents(self) -> None:
        found = await self._connection.fetch(DEPENDENTS, self._row.schema_name)
        if found:
            names = [each[0] for each in found]
            raise SchemaConflict(
                self._tenant,
                f"other schemas depend on tenant {self._tenant!r}: {', '.join(names)}",
                hint="drop them first; deleting the tenant would take them along",
                data={"dependents": names},
            )

    async def _check_unfinished(self) -> None:
        count = await unfinished(self._connection, self._tenant)
        if count:
            kept = self._row.results == "archive"
            raise TenantInUse(self._tenant, count, forced=TAKE_ALONG if kept else "drop them")

    def _header(self) -> dict[str, Any]:
        return {
            "insula": "results",
            "format": FORMAT,
            "tenant": self._tenant,
            "deleted_at": self._row.removed_at,
            "engine_version": self._row.engine_version,
            "app_version": self._row.app_version,
        }

    async def _finished(self) -> AsyncIterator[list[dict[str, Any]]]:
        query = sql.bind(FINISHED_RUNS, self._row.schema_name)
        plain = await opener(self._control, self._connection, self._tenant, self._spec.key)
        last, written = UUID(int=0), 0
        while rows := await self._connection.fetch(query, last, _LOT):
            self._report(Progress("writing its finished runs", written, unit="runs"))
            written += len(rows)
            yield [_line(row, plain) for row in rows]
            last = rows[-1]["id"]

    async def _verify(self) -> None:
        """Ask the catalogs whether all is gone, rather than believe it."""
        arguments = (self._row.schema_name, self._roles, self._mark)
        left = [each[0] for each in await self._connection.fetch(LEFT, *arguments)]
        if left:
            raise RemovalIncomplete(
                self._tenant,
                f"tenant {self._tenant!r} is deleted, but the server still has: {', '.join(left)}",
                hint="somebody made it anew meanwhile; look at it before you drop it by hand",
                data={"left": left},
            )


def _line(row: asyncpg.Record, plain: Payloads) -> dict[str, Any]:
    """Return one run as the file has it; what is JSON already is not encoded again."""
    opened = {name: plain.open_column(name, row[name], row["id"]) for name in COLUMNS}
    return {
        name: msgspec.Raw(value.encode()) if name in COLUMNS and value is not None else value
        for name, value in {**row, **opened}.items()
    }
