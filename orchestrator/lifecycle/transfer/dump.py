"""Writes a whole tenant into an archive, as it was at one moment, while the tenant goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import BinaryIO

import anyio.to_thread
import asyncpg
import msgspec

from orchestrator.archive import manifest as manifests
from orchestrator.archive.container import (
    CHUNK,
    MANIFEST,
    SEAL,
    ArchiveWriter,
    TableWriter,
    member_of,
)
from orchestrator.archive.manifest import (
    Grant,
    LedgerEntry,
    Manifest,
    Runs,
    SequenceEntry,
    TableEntry,
)
from orchestrator.lifecycle.provision import ProvisionSpec
from orchestrator.lifecycle.transfer.program import Definitions, find_pg_dump
from orchestrator.model.errors import DatabaseUnavailable, StorageFailed
from orchestrator.model.ids import TenantId, quote_identifier
from orchestrator.model.progress import Progress, Report
from orchestrator.model.version import version
from orchestrator.store import sql, sqlstate
from orchestrator.store.connect import Connection, Record, Target, translated
from orchestrator.store.control.tenants import TenantRow

_QUERIES = sql.load(__name__)
LOCK = _QUERIES["lock"]
BEGIN = _QUERIES["begin"]
SNAPSHOT = _QUERIES["snapshot"]
TABLES = _QUERIES["tables"]
SEQUENCES = _QUERIES["sequences"]
POSITION = _QUERIES["position"]
REFRESH = _QUERIES["refresh"]
GRANTS = _QUERIES["grants"]
LEDGER = _QUERIES["ledger"]

SCHEMA_SQL = "schema.sql"
CONSTRAINTS_SQL = "constraints.sql"
"""The definitions that are there before the rows, and those that come after: indexes, constraints,
triggers. Rows that are loaded in between are checked, and fire nothing."""

BEGINS_ANEW = frozenset({"wf_fence", "wf_usage"})
"""Tables whose rows are not copied: who owns the tenant now, and what has been used here, which is
billed already."""

_OF_RUNS = {
    "wf_event": "run_id IN (SELECT id FROM tenant.wf_run WHERE finished_at IS NOT NULL)",
    "wf_run": "finished_at IS NOT NULL",
    "wf_signal": "false",
    "wf_pause": "false",
    "wf_schedule": "false",
    "wf_fire": "false",
}
"""Which rows go with the finished runs alone; none of these tables' without any run."""


class Dumped(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant to be written down, and where it is; `target` is the admin's way there."""

    row: TenantRow
    target: Target
    spec: ProvisionSpec


def left_out(runs: Runs) -> list[tuple[str, str]]:
    """Return the tables of which not every row goes with `runs`, and which ones do."""
    if runs == "all":
        return []
    return [(table, rows if runs == "finished" else "false") for table, rows in _OF_RUNS.items()]


async def dump(
    connection: Connection,
    dumped: Dumped,
    file: BinaryIO,
    *,
    runs: Runs = "all",
    report: Report,
) -> Manifest:
    """Write the tenant into `file`, which can be sought, and return what is in it.

    `connection` is one of its own, under the admin login. Nobody is kept from anything but from
    changing the tenant's tables. Raises StorageFailed, ToolMissing, DatabaseUnavailable and
    DatabaseRefused; what was written until then is of no use.
    """
    work = _Dump(connection, dumped, file, report)
    with reading_errors(dumped.row.id):
        try:
            return await work.run(runs)
        except OSError as error:
            raise StorageFailed(
                f"the archive of tenant {dumped.row.id!r} can not be written: "
                f"{error.strerror or error}",
                hint="make room in the state directory, [node] state_dir",
            ) from error


class _Dump:
    """One call of `dump`."""

    def __init__(
        self, connection: Connection, dumped: Dumped, file: BinaryIO, report: Report
    ) -> None:
        self._connection = connection
        self._dumped = dumped
        self._schema = dumped.row.schema_name
        self._created_at = datetime.now(UTC)
        self._archive = ArchiveWriter(file, mtime=int(self._created_at.timestamp()))
        self._report = report
        self._done = 0

    async def run(self, runs: Runs) -> Manifest:
        known = await self._connection.fetch(TABLES, self._schema)
        async with one_moment(self._connection):
            locks = [sql.fill(LOCK, schema=self._schema, table=name) for name, _, _ in known]
            await self._connection.execute("\n".join([*locks, BEGIN]))
            snapshot = await self._connection.fetchval(SNAPSHOT)
            self._report(Progress(phase="definitions"))
            definitions = await self._definitions(snapshot)
            files = {
                SCHEMA_SQL: self._archive.add(SCHEMA_SQL, definitions.before.encode()),
                CONSTRAINTS_SQL: self._archive.add(CONSTRAINTS_SQL, definitions.after.encode()),
            }
            found = await self._connection.fetch(TABLES, self._schema)
            chosen = dict(left_out(runs))
            tables = [
                await self._table(name, columns, chosen.get(name, "true"))
                if not unlogged and name not in BEGINS_ANEW
                else TableEntry(name=name, columns=columns)
                for name, unlogged, columns in found
            ]
            manifest = await self._manifest(runs, files, tables)
        self._end(manifest)
        return manifest

    async def _definitions(self, snapshot: str) -> Definitions:
        server = self._connection.get_server_version().major
        program = await anyio.to_thread.run_sync(find_pg_dump, server)
        return await program.definitions(self._dumped.target, self._schema, snapshot=snapshot)

    async def _table(self, name: str, columns: list[str], condition: str) -> TableEntry:
        names = ", ".join(map(quote_identifier, columns))
        query = f"SELECT {names} FROM ONLY {self._qualified(name)} WHERE {condition}"  # noqa: S608 - quoted
        with self._archive.table(name) as writer:
            rows = Rows(writer, self._told)
            await self._connection.copy_from_query(
                sql.bind(query, self._schema), output=rows.take, encoding="utf-8"
            )
            await rows.flush()
        return TableEntry(
            name=name,
            columns=columns,
            file=member_of(name),
            rows=writer.rows,
            bytes=writer.bytes,
            sha256=writer.sha256,
        )

    def _qualified(self, name: str) -> str:
        return f"{quote_identifier(self._schema)}.{quote_identifier(name)}"

    def _told(self, size: int) -> None:
        self._done += size
        self._report(Progress(phase="rows", done=self._done, unit="bytes"))

    async def _manifest(
        self, runs: Runs, files: dict[str, str], tables: list[TableEntry]
    ) -> Manifest:
        row, spec = self._dumped.row, self._dumped.spec
        ledger = await self._connection.fetch(sql.bind(LEDGER, self._schema))
        refresh = await self._connection.fetch(REFRESH, self._schema)
        return Manifest(
            insula=version(),
            server=str(await self._connection.fetchval("SHOW server_version")),
            installation=spec.installation,
            tenant=row.id,
            schema=self._schema,
            created_at=self._created_at,
            runs=runs,
            source=row.source,
            declaration=msgspec.json.decode(row.declaration),
            origin=row.origin,
            engine=ledger_of("engine", ledger),
            app=ledger_of("app", ledger),
            files=files,
            tables=tables,
            sequences=await self._sequences(),
            grants=await self._grants(),
            refresh=[each[0] for each in refresh],
        )

    async def _sequences(self) -> list[SequenceEntry]:
        """Return where the sequences are now; they are ahead of all rows that were read."""
        found = []
        for (name,) in await self._connection.fetch(SEQUENCES, self._schema):
            query = sql.fill(POSITION, schema=self._schema, sequence=name)
            value, called = await self._connection.fetchrow(query) or (1, False)
            found.append(SequenceEntry(name=name, value=value, called=called))
        return found

    async def _grants(self) -> list[Grant]:
        # Types of the tenant's own go without their schema's name, which may be another one later.
        await self._connection.execute(
            sql.fill('SET LOCAL search_path = :"schema", pg_temp', schema=self._schema)
        )
        app = self._dumped.spec.logins(self._dumped.row.id).app
        found = await self._connection.fetch(GRANTS, self._schema, app)
        return [
            Grant(kind=kind, name=name, privileges=privileges, public=public)
            for kind, name, privileges, public in found
        ]

    def _end(self, manifest: Manifest) -> None:
        content = manifests.encode(manifest)
        self._archive.add(MANIFEST, content)
        self._archive.add(SEAL, self._dumped.spec.key.seal(content).encode() + b"\n")
        self._archive.end()


class Rows:
    """Collects what the server sends into pieces that are worth a thread's while."""

    def __init__(self, writer: TableWriter, told: Callable[[int], None]) -> None:
        self._writer = writer
        self._told = told
        self._piece = bytearray()

    async def take(self, data: bytes) -> None:
        """Take what the server has sent."""
        self._piece += data
        if len(self._piece) >= CHUNK:
            await self.flush()

    async def flush(self) -> None:
        """Write what has been collected."""
        piece, self._piece = bytes(self._piece), bytearray()
        await anyio.to_thread.run_sync(self._writer.write, piece)
        self._told(len(piece))


@asynccontextmanager
async def one_moment(connection: Connection) -> AsyncIterator[None]:
    """Read in the block what one moment saw.

    What breaks it off ends the connection: the driver can not go on after half a COPY, and what it
    says of that would hide that the disk is full.
    """
    transaction = connection.transaction(isolation="repeatable_read", readonly=True)
    await transaction.start()
    try:
        yield
    except BaseException:
        connection.terminate()
        raise
    await transaction.rollback()


def ledger_of(ledger: str, rows: Iterable[Record]) -> list[LedgerEntry]:
    """Return one of the two ledgers among the rows of both."""
    return [
        LedgerEntry(number=number, name=name, checksum=checksum)
        for which, number, name, checksum in rows
        if which == ledger
    ]


@contextmanager
def reading_errors(tenant: TenantId) -> Iterator[None]:
    """Say of what the database says that the tenant can not be read."""
    with translated(f"tenant {tenant!r} can not be read"):
        try:
            yield
        except asyncpg.PostgresError as error:
            if error.sqlstate not in sqlstate.NOT_IN_TIME:
                raise
            raise DatabaseUnavailable(
                f"tenant {tenant!r} can not be read now: {error}",
                hint="somebody changes its tables: see pg_locks",
            ) from error
