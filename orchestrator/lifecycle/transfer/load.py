"""Makes the schema of a tenant, with all that is in it, of an archive that was checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import anyio.to_thread
import asyncpg
import msgspec

from orchestrator.archive.manifest import Grant, Runs, TableEntry
from orchestrator.lifecycle.transfer.dump import (
    CONSTRAINTS_SQL,
    SCHEMA_SQL,
    TABLES,
    left_out,
)
from orchestrator.lifecycle.transfer.rename import rename_schema
from orchestrator.lifecycle.transfer.reseal import Source
from orchestrator.model.errors import RestoreFailed
from orchestrator.model.ids import TenantId, quote_identifier, schema_of
from orchestrator.model.progress import Progress, Report
from orchestrator.store import sql
from orchestrator.store.connect import Connection, classify

_QUERIES = sql.load(__name__)
BEGIN = _QUERIES["begin"]
FENCE_ROW = _QUERIES["fence"]
LET_GO = _QUERIES["let_go"]
UNFINISHED = _QUERIES["unfinished"]
POSITION = _QUERIES["position"]
OWN_NAMES = _QUERIES["own_names"]


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What was made; `unfinished` is how many runs will go on."""

    tables: int
    rows: int
    unfinished: int


async def load(
    connection: Connection,
    archive: Source,
    tenant: TenantId,
    *,
    app_role: str,
    runs: Runs,
    report: Report,
) -> Loaded:
    """Make the schema of `tenant` in the transaction of `connection`, and compare it.

    Grants to `app_role`, which is there, what the application's login had. `runs` says which of
    the archive's runs are taken. Raises RestoreFailed, after which the transaction is of no use.
    """
    work = _Load(connection, archive, tenant, report)
    try:
        return await work.run(app_role, runs)
    except asyncpg.PostgresError as error:
        if classify(error) is not None:
            raise
        manifest = archive.manifest
        raise RestoreFailed(
            tenant,
            f"tenant {tenant!r} can not be made of the archive: {error}",
            hint=f"it is from PostgreSQL {manifest.server}; does this server have the extensions "
            "that its tables use?",
            data={"sqlstate": error.sqlstate},
        ) from error


class _Load:
    """One call of `load`."""

    def __init__(
        self, connection: Connection, archive: Source, tenant: TenantId, report: Report
    ) -> None:
        self._connection = connection
        self._archive = archive
        self._manifest = archive.manifest
        self._tenant = tenant
        self._schema = schema_of(tenant)
        self._report = report
        self._done = 0

    async def run(self, app_role: str, runs: Runs) -> Loaded:
        await self._connection.execute(BEGIN)
        await self._define(SCHEMA_SQL)
        rows = 0
        for table in self._manifest.tables:
            rows += await self._fill(table)
        rows -= await self._leave_out(runs)
        await self._connection.execute(self._bound(FENCE_ROW))
        await self._connection.execute(self._bound(LET_GO))
        self._report(Progress(phase="indexes and constraints"))
        await self._define(CONSTRAINTS_SQL)
        for each in self._manifest.sequences:
            arguments = (self._schema, each.name, each.value, each.called)
            await self._connection.fetchval(POSITION, *arguments)
        await self._connection.execute(sql.fill(OWN_NAMES, schema=self._schema))
        await self._grant(app_role)
        for view in self._manifest.refresh:
            await self._connection.execute(f"REFRESH MATERIALIZED VIEW {self._prefix}{view}")
        await self._compare()
        unfinished = await self._connection.fetchval(self._bound(UNFINISHED))
        return Loaded(tables=len(self._manifest.tables), rows=rows, unfinished=unfinished)

    async def _define(self, name: str) -> None:
        text = await anyio.to_thread.run_sync(self._definitions, name)
        await self._connection.execute(text)

    def _definitions(self, name: str) -> str:
        ddl = self._archive.text(name).decode()
        return rename_schema(ddl, self._manifest.schema, self._schema)

    async def _fill(self, table: TableEntry) -> int:
        """Copy the rows of a table, and return how many there are."""
        if table.file is None:
            return 0
        status: str = await self._connection.copy_to_table(
            table.name,
            schema_name=self._schema,
            columns=table.columns or None,
            source=self._rows(table),
            encoding="utf-8",
        )
        copied = int(status.removeprefix("COPY "))
        if copied != table.rows:
            raise RestoreFailed(
                self._tenant,
                f"table {table.name!r} has {copied} rows and not the {table.rows} of the archive",
            )
        return copied

    async def _leave_out(self, runs: Runs) -> int:
        """Delete the rows that do not go with `runs`, and return how many there were."""
        gone = 0
        for name, condition in left_out(runs):
            # Those that refer to runs come first, so that these are still there.
            delete = f"DELETE FROM tenant.{name} WHERE NOT ({condition})"  # noqa: S608 - both ours
            done = await self._connection.execute(self._bound(delete))
            gone += int(done.removeprefix("DELETE "))
        return gone

    async def _rows(self, table: TableEntry) -> AsyncIterator[bytes]:
        rows = self._archive.rows(table)
        total = self._manifest.bytes
        while text := await anyio.to_thread.run_sync(next, rows, None):
            yield text
            self._done += len(text)
            self._report(Progress(phase="rows", done=self._done, total=total, unit="bytes"))

    async def _grant(self, app_role: str) -> None:
        role = quote_identifier(app_role)
        statements = [
            line for grant in self._manifest.grants for line in self._granting(grant, role)
        ]
        await self._connection.execute("\n".join(statements))

    def _granting(self, grant: Grant, role: str) -> Sequence[str]:
        on = f"ON {grant.kind} {self._prefix}{grant.name}"
        lines = []
        if grant.kind == "ROUTINE" and not grant.public:
            lines.append(f"REVOKE ALL {on} FROM PUBLIC;")
        if grant.privileges:
            lines.append(f"GRANT {', '.join(grant.privileges)} {on} TO {role};")
        return lines

    async def _compare(self) -> None:
        """Ask the catalogs whether all is there that the manifest names."""
        found = await self._connection.fetch(TABLES, self._schema)
        made = [(name, columns) for name, _, columns in found]
        if made != [(each.name, each.columns) for each in self._manifest.tables]:
            raise RestoreFailed(
                self._tenant, "the tables that were made are not those that the archive names"
            )

    @property
    def _prefix(self) -> str:
        return quote_identifier(self._schema) + "."

    def _bound(self, query: str) -> str:
        return sql.bind(query, self._schema)
