"""Writes the application's data of a tenant, and its finished runs, in open formats."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import BinaryIO
from urllib.parse import quote
from uuid import UUID

import anyio.to_thread
import msgspec

from orchestrator.archive import export
from orchestrator.archive.container import MANIFEST, ArchiveWriter, TableWriter
from orchestrator.archive.export import RUNS, ExportManifest, Kind
from orchestrator.archive.manifest import TableEntry
from orchestrator.lifecycle.transfer.dump import (
    BEGIN,
    LEDGER,
    Rows,
    ledger_of,
    one_moment,
    reading_errors,
)
from orchestrator.model.errors import StorageFailed
from orchestrator.model.ids import TenantId, quote_identifier, schema_of
from orchestrator.model.progress import Progress, Report
from orchestrator.store import sql
from orchestrator.store.connect import Connection, Record
from orchestrator.store.tenant.payloads import COLUMNS, Payloads, payloads
from orchestrator.store.tenant.sealing import WrappingKeys
from orchestrator.store.tenant.secrets import RingKey, ring

_QUERIES = sql.load(__name__)
APP_TABLES = _QUERIES["app_tables"]
FINISHED_RUNS = _QUERIES["finished_runs"]

JSON_LINES = {"format": "csv", "delimiter": "\x02", "quote": "\x01", "escape": "\x01"}
"""How COPY leaves a line of JSON as it is: no JSON has these characters."""

# A column of type json has line breaks of its own, between its values.
_JSON_LINE = "SELECT translate(row_to_json(r)::text, E'\\n\\r', '  ') FROM ({}) AS r"
_LOT = 500


async def write_export(
    connection: Connection,
    tenant: TenantId,
    file: BinaryIO,
    *,
    kind: Kind,
    keys: WrappingKeys | None,
    report: Report,
) -> ExportManifest:
    """Write the tenant's export into `file`, a tar, all of it as one moment saw it.

    `connection` is one of its own. With `keys`, those of the tenant, what runs carry is written as
    it was before it was sealed. Raises StorageFailed, SecretUnreadable, and what the database says.
    """
    work = _Export(connection, schema_of(tenant), file, report, keys)
    with reading_errors(tenant):
        try:
            return await work.run(tenant, kind)
        except OSError as error:
            raise StorageFailed(
                f"the export of tenant {tenant!r} can not be written: {error.strerror or error}",
                hint="make room in the state directory, [node] state_dir",
            ) from error


class _Export:
    """One call of `write_export`."""

    def __init__(
        self,
        connection: Connection,
        schema: str,
        file: BinaryIO,
        report: Report,
        keys: WrappingKeys | None,
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._keys = keys
        self._created_at = datetime.now(UTC)
        self._archive = ArchiveWriter(file, mtime=int(self._created_at.timestamp()))
        self._report = report
        self._done = 0

    async def run(self, tenant: TenantId, kind: Kind) -> ExportManifest:
        async with one_moment(self._connection):
            await self._connection.execute(BEGIN)
            ledger = await self._connection.fetch(sql.bind(LEDGER, self._schema))
            tables = [
                await self._table(name, columns, kind)
                for name, columns in await self._connection.fetch(APP_TABLES, self._schema)
            ]
            stored = [each for each in await ring(self._connection, self._schema) if each.payloads]
            manifest = ExportManifest(
                tenant=tenant,
                created_at=self._created_at,
                kind=kind,
                app=ledger_of("app", ledger),
                tables=tables,
                runs=await self._runs(stored),
                sealed=bool(stored) and self._keys is None,
            )
        self._archive.add(MANIFEST, export.encode(manifest))
        self._archive.end()
        return manifest

    async def _runs(self, stored: Sequence[RingKey]) -> TableEntry:
        """Write the finished runs, opened where that is wanted and anything is sealed."""
        query = sql.bind(FINISHED_RUNS, self._schema)
        if self._keys is None or not stored:
            return await self._lines("wf_run", query, RUNS)
        plain = payloads(stored, self._keys, seal=False)
        with self._archive.plain(RUNS) as writer:
            rows = 0
            async for lot in self._lots(query):
                rows += len(lot)
                text = b"".join(_opened(line, plain) for (line,) in lot)
                await anyio.to_thread.run_sync(writer.write, text)
                self._told(len(text))
        return _entry("wf_run", [], RUNS, rows, writer)

    async def _lots(self, query: str) -> AsyncIterator[list[Record]]:
        cursor = await self._connection.cursor(_JSON_LINE.format(query))
        while lot := await cursor.fetch(_LOT):
            yield lot

    async def _table(self, name: str, columns: list[str], kind: Kind) -> TableEntry:
        names = ", ".join(map(quote_identifier, columns))
        table = f"{quote_identifier(self._schema)}.{quote_identifier(name)}"
        query = f"SELECT {names} FROM ONLY {table}"  # noqa: S608 - quoted
        file = f"{quote(name, safe='')}.{kind}"
        if kind == "csv":
            return await self._file(name, columns, query, file, format="csv", header=True)
        return await self._lines(name, query, file, columns)

    async def _lines(
        self, name: str, query: str, file: str, columns: list[str] | None = None
    ) -> TableEntry:
        line = _JSON_LINE.format(query)
        return await self._file(name, columns or [], line, file, **JSON_LINES)

    async def _file(
        self, name: str, columns: list[str], query: str, file: str, **form: str | bool
    ) -> TableEntry:
        with self._archive.plain(file) as writer:
            rows = Rows(writer, self._told)
            status = await self._connection.copy_from_query(
                query,
                output=rows.take,
                encoding="utf-8",
                **form,  # type: ignore[arg-type]  # options of COPY
            )
            await rows.flush()
        return _entry(name, columns, file, int(status.removeprefix("COPY ")), writer)

    def _told(self, size: int) -> None:
        self._done += size
        self._report(Progress("rows", self._done, unit="bytes"))


def _entry(name: str, columns: list[str], file: str, rows: int, writer: TableWriter) -> TableEntry:
    return TableEntry(
        name=name, columns=columns, file=file, rows=rows, bytes=writer.bytes, sha256=writer.sha256
    )


def _opened(line: str, plain: Payloads) -> bytes:
    """Return a run's line with what it carried as it was."""
    row = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    run = msgspec.json.decode(row["id"], type=UUID)
    for name in COLUMNS:
        text = plain.open_column(name, bytes(row[name]).decode(), run)
        assert text is not None  # noqa: S101 - null is a JSON text as well
        row[name] = msgspec.Raw(text.encode())
    return msgspec.json.encode(row) + b"\n"
