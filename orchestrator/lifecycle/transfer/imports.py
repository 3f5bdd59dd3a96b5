"""Adds the rows of an export to the application's tables of a tenant: all of them, or none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import anyio.to_thread
import asyncpg

from orchestrator.archive.export import ExportReader
from orchestrator.archive.manifest import TableEntry
from orchestrator.lifecycle.transfer.export import APP_TABLES, JSON_LINES
from orchestrator.model.errors import DatabaseUnavailable, ImportRefused
from orchestrator.model.ids import TenantId, quote_identifier, schema_of
from orchestrator.model.progress import Progress, Report
from orchestrator.store import sql, sqlstate
from orchestrator.store.connect import Connection, classify, translated

_QUERIES = sql.load(__name__)
STAGE = _QUERIES["stage"]
UNSTAGE = _QUERIES["unstage"]
STAGED = _QUERIES["staged"]
COUNTERS = _QUERIES["counters"]

CSV: Mapping[str, str | bool] = {"format": "csv", "header": True}
"""How COPY reads what write_export has written."""


async def import_rows(
    connection: Connection, tenant: TenantId, export: ExportReader, *, report: Report
) -> int:
    """Add all rows of the export to the tenant's tables, and return how many there were.

    `connection` is one of its own. Raises ImportRefused, which names the table and, where there is
    one, the line that can not be added, ArchiveInvalid, and what the database says.
    """
    await anyio.to_thread.run_sync(export.check)
    work = _Import(connection, tenant, export, report)
    with translated(f"nothing can be imported into tenant {tenant!r} now"):
        return await work.run()


class _Import:
    """One call of `import_rows`."""

    def __init__(
        self, connection: Connection, tenant: TenantId, export: ExportReader, report: Report
    ) -> None:
        self._connection = connection
        self._tenant = tenant
        self._schema = schema_of(tenant)
        self._export = export
        self._report = report
        self._done = 0

    async def run(self) -> int:
        async with self._connection.transaction():
            found = await self._connection.fetch(APP_TABLES, self._schema)
            order = {name: (number, columns) for number, (name, columns) in enumerate(found)}
            self._check({row[0]: row[1] for row in found})
            await self._connection.execute(
                sql.fill('SET LOCAL search_path = :"schema", pg_temp', schema=self._schema)
            )
            if self._export.manifest.kind == "jsonl":
                await self._connection.execute(STAGE)
            tables = self._export.manifest.tables
            for table in sorted(tables, key=lambda each: order[each.name][0]):
                await self._table(table)
        return sum(table.rows for table in tables)

    def _check(self, known: Mapping[str, list[str]]) -> None:
        """Compare the tables and columns of the export with those that are there."""
        problems = []
        for table in self._export.manifest.tables:
            if table.name not in known:
                problems.append(f"there is no table {table.name!r}")
            elif missing := [each for each in table.columns if each not in known[table.name]]:
                problems.append(f"table {table.name!r} has no column {', '.join(missing)}")
        if problems:
            raise ImportRefused(
                self._tenant,
                f"the export does not fit tenant {self._tenant!r}: {'; '.join(problems)}",
                hint="migrate the tenant, or the one that was exported",
                data={"problems": problems},
            )

    async def _table(self, table: TableEntry) -> None:
        if not table.columns:
            return
        try:
            if self._export.manifest.kind == "csv":
                await self._copy(self._schema, table.name, table, table.columns, CSV)
            else:
                await self._connection.execute(UNSTAGE)
                await self._copy("pg_temp", "import_line", table, ["content"], JSON_LINES)
                last = await self._connection.fetchval(STAGED)
                await self._insert(table, 1, last)
            await self._count_on(table.name)
        except asyncpg.PostgresError as error:
            raise self._refused(table, error, _line_of(error)) from error

    async def _copy(
        self,
        schema: str,
        into: str,
        table: TableEntry,
        columns: list[str],
        form: Mapping[str, str | bool],
    ) -> None:
        await self._connection.copy_to_table(
            into,
            schema_name=schema,
            source=self._pieces(table),
            columns=columns,
            encoding="utf-8",
            **form,  # type: ignore[arg-type]  # options of COPY
        )

    async def _pieces(self, table: TableEntry) -> AsyncIterator[bytes]:
        pieces = self._export.pieces(table)
        total = sum(each.bytes for each in self._export.manifest.tables)
        while piece := await anyio.to_thread.run_sync(next, pieces, None):
            yield piece
            self._done += len(piece)
            self._report(Progress("rows", self._done, total, "bytes"))

    async def _insert(self, table: TableEntry, first: int, last: int) -> None:
        """Add the staged rows; of those that can not be added, the first one is looked for."""
        if first > last:
            return
        names = ", ".join(map(quote_identifier, table.columns))
        name = quote_identifier(table.name)
        query = (
            f"INSERT INTO {name} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM ("  # noqa: S608 - quoted
            f"SELECT (json_populate_record(NULL::{name}, content::json)).*"
            " FROM pg_temp.import_line WHERE number BETWEEN $1 AND $2 ORDER BY number) AS r"
        )
        try:
            async with self._connection.transaction():
                await self._connection.execute(query, first, last)
        except asyncpg.PostgresError as error:
            if classify(error) is not None or error.sqlstate in sqlstate.LOCK_NOT_HAD:
                raise
            if first == last:
                raise self._refused(table, error, first) from error
            middle = (first + last) // 2
            await self._insert(table, first, middle)
            await self._insert(table, middle + 1, last)

    async def _count_on(self, table: str) -> None:
        """Let what counts a column's values go on behind those that were added."""
        for column, sequence in await self._connection.fetch(COUNTERS, self._schema, table):
            name = f"{quote_identifier(table)}"
            await self._connection.fetchval(
                f"SELECT setval($1::text::regclass, greatest(max({quote_identifier(column)}),"  # noqa: S608 - quoted
                f" (SELECT last_value FROM {sequence}))) FROM {name} HAVING count(*) > 0",
                sequence,
            )

    def _refused(
        self, table: TableEntry, error: asyncpg.PostgresError, line: int | None
    ) -> ImportRefused | DatabaseUnavailable:
        if error.sqlstate in sqlstate.LOCK_NOT_HAD:
            return DatabaseUnavailable(
                f"nothing can be imported into tenant {self._tenant!r} now: {error}",
                hint="somebody else holds its tables",
            )
        where = f"line {line} of {table.file}" if line else table.file
        said = " ".join(str(error).split())
        return ImportRefused(
            self._tenant,
            f"{where} can not be imported into table {table.name!r}: {said}",
            hint="nothing was imported",
            data={"table": table.name, "line": line, "sqlstate": error.sqlstate},
        )


def _line_of(error: asyncpg.PostgresError) -> int | None:
    """Return which line of a CSV file the server was at: the last one of a row that has several."""
    context: str = getattr(error, "context", None) or ""
    words = context.replace(",", " ").replace(":", " ").split()
    if words[:1] != ["COPY"] or "line" not in words:
        return None
    return int(words[words.index("line") + 1])
