"""The part of the small platform that copies whole tenants."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from typing import Any, BinaryIO, Protocol
from uuid import UUID

from orchestrator.archive import export
from orchestrator.archive import manifest as manifests
from orchestrator.archive.container import MANIFEST, ArchiveReader, ArchiveWriter, member_of
from orchestrator.archive.export import ExportManifest, ExportReader, Kind
from orchestrator.archive.manifest import Manifest, Runs, TableEntry
from orchestrator.model import errors
from orchestrator.model.api import TenantView
from orchestrator.model.archives import ImportedRows, RestoredTenant
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import Progress, Report

ROWS = b"1\tJFK\n2\tLHR\n"
LARGE = 8 << 20
"""Bytes: more than sockets hold for a client that does not read."""

MOMENT = datetime(2013, 1, 1, 12, tzinfo=UTC)


def small_archive(tenant: str, file: BinaryIO) -> None:
    """Write an archive with one table of two rows."""
    writer = ArchiveWriter(file, mtime=0)
    with writer.table("flight") as table:
        table.write(ROWS)
    manifest = Manifest(
        insula="1",
        server="18.0",
        installation=UUID(int=1),
        tenant=tenant,
        schema=f"tenant_{tenant}",
        created_at=MOMENT,
        runs="all",
        source="api",
        declaration={},
        engine=[],
        app=[],
        files={"schema.sql": writer.add("schema.sql", b"SELECT 1;")},
        tables=[
            TableEntry(
                name="flight",
                columns=["id", "origin"],
                file=member_of("flight"),
                rows=2,
                bytes=len(ROWS),
                sha256=hashlib.sha256(ROWS).hexdigest(),
            )
        ],
        sequences=[],
        grants=[],
        refresh=[],
    )
    writer.add(MANIFEST, manifests.encode(manifest))
    writer.end()


def small_export(tenant: str, kind: Kind, file: BinaryIO) -> None:
    """Write an export with one table of two rows, and no runs."""
    writer = ArchiveWriter(file, mtime=0)
    rows = b"id,origin\n1,JFK\n2,LHR\n"
    files = {f"flight.{kind}": rows, export.RUNS: b""}
    entries = [
        TableEntry(
            name=name.partition(".")[0],
            columns=["id", "origin"],
            file=name,
            rows=2 if content else 0,
            bytes=len(content),
            sha256=writer.add(name, content),
        )
        for name, content in files.items()
    ]
    manifest = ExportManifest(
        tenant=tenant, created_at=MOMENT, kind=kind, app=[], tables=entries[:1], runs=entries[1]
    )
    writer.add(MANIFEST, export.encode(manifest))
    writer.end()


class HasTenants(Protocol):
    """The platform, as this part sees it."""

    views: dict[TenantId, TenantView]

    def add(self, id: str, **fields: Any) -> TenantView: ...


class HandMadeArchives:
    """Archives of one table. Tenant `cut` sends one that ends in the middle, `large` a large one.

    What is on its way to a client, or was, is in `sent`.
    """

    def __init__(self, platform: HasTenants) -> None:
        self._platform = platform
        self.asked: list[tuple[Any, ...]] = []
        self.sent: list[BinaryIO] = []

    async def backup(self, tenant: TenantId, *, runs: Runs) -> BinaryIO:
        self.asked.append(("backup", tenant, runs))
        file = io.BytesIO()
        small_archive(tenant, file)
        if tenant == "cut":
            file = io.BytesIO(file.getvalue()[:2000])
        if tenant == "large":
            file.write(bytes(LARGE))
        self.sent.append(file)
        return file

    async def restore(  # noqa: PLR0913 - as the protocol has it
        self,
        tenant: TenantId,
        spool: BinaryIO,
        *,
        of: str | None,
        runs: Runs | None,
        foreign: bool,
        to: str | None = None,
        report: Report,
    ) -> RestoredTenant:
        if tenant in self._platform.views:
            raise errors.TenantExists(tenant, f"tenant {tenant!r} is there already")
        found = ArchiveReader(spool).manifest
        self.asked.append(("restore", tenant, of, runs, foreign, to))
        report(Progress("rows", 1, 2, "rows"))
        self._platform.add(tenant, source="api")
        return _made(tenant, found.tenant)

    async def clone(
        self,
        tenant: TenantId,
        into: TenantId,
        *,
        runs: Runs,
        to: str | None = None,
        report: Report,
    ) -> RestoredTenant:
        self.asked.append(("clone", tenant, into, runs, to))
        report(Progress("rows", 1, 2, "rows"))
        self._platform.add(into, source="api")
        return _made(into, tenant)

    async def unarchive(
        self, tenant: TenantId, report: Report, *, to: str | None = None
    ) -> RestoredTenant:
        self.asked.append(("unarchive", tenant, to))
        report(Progress("rows", 1, 2, "rows"))
        return _made(tenant, tenant)

    async def export(self, tenant: TenantId, *, kind: Kind, unsealed: bool) -> BinaryIO:
        self.asked.append(("export", tenant, kind, unsealed))
        file = io.BytesIO()
        small_export(tenant, kind, file)
        return file

    async def add(self, tenant: TenantId, spool: BinaryIO, *, report: Report) -> ImportedRows:
        found = ExportReader(spool).manifest
        self.asked.append(("add", tenant, found.kind))
        report(Progress("rows", 1, 2, "rows"))
        return ImportedRows(tenant=tenant, of=found.tenant, tables=1, rows=2)

    async def spool(self) -> BinaryIO:
        return io.BytesIO()

    async def keep(self, spool: BinaryIO, content: bytes) -> None:
        spool.write(content)


def _made(tenant: TenantId, of: str) -> RestoredTenant:
    return RestoredTenant(tenant=tenant, of=of, as_of=MOMENT, tables=1, rows=2, unfinished=1)
