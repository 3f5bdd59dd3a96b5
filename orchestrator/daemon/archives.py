"""The verbs that copy a whole tenant: backup, restore, clone."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import anyio.to_thread
import msgspec
import structlog

from orchestrator.archive.container import ArchiveReader
from orchestrator.archive.export import ExportReader, Kind
from orchestrator.archive.manifest import Manifest, Runs
from orchestrator.daemon.arrivals import Arrivals
from orchestrator.daemon.errands import Errands
from orchestrator.daemon.tenants import Tenants, check_declaration
from orchestrator.lifecycle.files import begin_file, discard, finish_file, writable
from orchestrator.lifecycle.transfer.dump import Dumped, dump
from orchestrator.lifecycle.transfer.export import write_export
from orchestrator.lifecycle.transfer.imports import import_rows
from orchestrator.lifecycle.transfer.load import Loaded
from orchestrator.lifecycle.transfer.restore import Restoring, refuse_taken, restore, verified
from orchestrator.model.archives import ImportedRows, RestoredTenant
from orchestrator.model.errors import (
    ArchiveInvalid,
    InsulaError,
    StorageFailed,
    TenantExists,
    TenantNotFound,
)
from orchestrator.model.ids import CONTROL_SHARD, TenantId
from orchestrator.model.progress import Report, unheard
from orchestrator.quota.limits import of_submissions
from orchestrator.store.connect import DRIVER_ERRORS, ControlPool
from orchestrator.store.control import figures
from orchestrator.store.control import tenants as rows
from orchestrator.store.control.audit import archived_by
from orchestrator.store.control.keys import Keyring
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.shards import Place

LOCK_TIMEOUT = "10s"
ARCHIVES = "archives"
"""Where, below the state directory, archived tenants are."""

RETURNING = ".returning"

RESERVE_PART, RESERVE_BYTES = 0.05, 1 << 30
"""So much of the disk, at most so many bytes, is not for what comes and goes: who sends it may have
a token of one tenant, and a database on a full disk serves none."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TenantArchives:
    """`Archives` of `http.services`.

    What is on its way stands in files of the state directory that have no name: they are gone
    whatever becomes of this process.
    """

    control: ControlPool
    tenants: Tenants
    errands: Errands
    state_dir: Path

    async def backup(self, tenant: TenantId, *, runs: Runs) -> BinaryIO:
        """Return a file with the archive of a tenant, which goes on meanwhile; close it."""
        return await self._written(tenant, runs, unheard)

    async def _written(self, tenant: TenantId, runs: Runs, report: Report) -> BinaryIO:
        spool = await self.spool()
        try:
            await self._dump(await self._provisioned(tenant), spool, runs, report)
        except BaseException:
            discard(spool)
            raise
        return spool

    async def spool(self) -> BinaryIO:
        """Return a new file for what comes or goes; StorageFailed."""
        with _storage(self.state_dir):
            return await anyio.to_thread.run_sync(_nameless, self.state_dir)

    async def keep(self, spool: BinaryIO, content: bytes) -> None:
        """Add what has come to the file; StorageFailed."""
        with _storage(self.state_dir):
            await anyio.to_thread.run_sync(_write, spool, content)

    async def restore(  # noqa: PLR0913 - one parameter for each of the request's
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
        """Make a tenant that is not there of an archive, on the shard `to`: all of it, or nothing.

        Without `to` it is made where it is declared, by a file or by the archive. It must be the
        archive of that tenant, or of the tenant `of`. Runs that have not finished go on under the
        same id, and are left out under another one, unless `runs` says what to take.
        """
        async with self.control.acquire() as connection:
            await refuse_taken(connection, tenant)
        archive = await verified(spool, self.tenants.spec, foreign=foreign, report=report)
        source = archive.manifest.tenant
        if source != (of or tenant):
            raise ArchiveInvalid(
                f"the archive is of tenant {source!r}, not of {of or tenant!r}",
                hint=f"to make it another tenant: --as {tenant}",
            )
        chosen = runs or ("all" if source == tenant else "finished")
        shard = to or await self._declared(tenant, archive.manifest)
        made = await self._make(Place(tenant, shard), archive, chosen, report)
        log.info("tenant.restored", tenant=tenant, of=source, shard=shard, rows=made.rows)
        return made

    async def clone(
        self,
        tenant: TenantId,
        into: TenantId,
        *,
        runs: Runs,
        to: str | None = None,
        report: Report,
    ) -> RestoredTenant:
        """Make another tenant like this one, which goes on meanwhile; beside it, or on `to`."""
        if into == tenant:
            raise TenantExists(
                into,
                f"{into!r} is taken by the tenant that is to be cloned",
                hint="name an id that nobody has yet",
            )
        async with self.control.acquire() as connection:
            shard = self.tenants.shards.known(to or (await rows.fetch(connection, tenant)).shard)
            await refuse_taken(connection, into)
        with await self._written(tenant, runs, report) as spool:
            archive = await anyio.to_thread.run_sync(ArchiveReader, spool)
            made = await self._make(Place(into, shard), archive, runs, report)
            log.info("tenant.cloned", tenant=into, of=tenant, shard=shard, rows=made.rows)
            return made

    async def export(self, tenant: TenantId, *, kind: Kind, unsealed: bool) -> BinaryIO:
        """Return a file with the export of a tenant, which goes on meanwhile; close it."""
        row = await self._provisioned(tenant)
        keyring = Keyring(self.control, self.tenants.spec.key)
        keys = await keyring.of(tenant, []) if unsealed else None
        spool = await self.spool()
        try:
            errand = self.errands.connection("export", row, lock_timeout=LOCK_TIMEOUT)
            async with errand as connection:
                await write_export(connection, tenant, spool, kind=kind, keys=keys, report=unheard)
        except BaseException:
            discard(spool)
            raise
        return spool

    async def add(self, tenant: TenantId, spool: BinaryIO, *, report: Report) -> ImportedRows:
        """Add the rows of an export to a tenant's tables: all of them, or none."""
        row = await self._provisioned(tenant)
        export = await anyio.to_thread.run_sync(ExportReader, spool)
        async with self.errands.connection("import", row, lock_timeout=LOCK_TIMEOUT) as connection:
            count = await import_rows(connection, tenant, export, report=report)
        async with self.control.acquire() as connection:
            await figures.fall_due(connection, tenant)
        log.info("tenant.imported", tenant=tenant, rows=count)
        tables = len(export.manifest.tables)
        return ImportedRows(tenant=tenant, of=export.manifest.tenant, tables=tables, rows=count)

    async def unarchive(
        self, tenant: TenantId, report: Report, *, to: str | None = None
    ) -> RestoredTenant:
        """Bring an archived tenant back with all its runs; its file goes.

        It comes back to where it lived, or to the shard `to`.
        """
        async with self.control.acquire() as connection:
            row = await rows.fetch(connection, tenant)
            written_by = await archived_by(connection, tenant)
        if row.archive is None:
            if not row.usable:
                raise rows.unfit(row)
            raise TenantExists(tenant, f"tenant {tenant!r} is not archived")
        shard = self.tenants.shards.known(to or row.shard)
        path = Path(row.archive)
        here = self.tenants.snapshot.settings.node.name
        reading = partial(_reading, path, tenant, written_by=written_by, here=here)
        with reading():
            file: BinaryIO = await anyio.to_thread.run_sync(path.open, "rb")
        with file:
            with reading():
                archive = await verified(file, self.tenants.spec, foreign=False, report=report)
            with _storage(path.parent):
                await anyio.to_thread.run_sync(_mark_of(path).touch)
            made = await self._make(Place(tenant, shard), archive, "all", report)
        await self._drop_spent(path)
        log.info("tenant.unarchived", tenant=tenant, shard=made.shard, rows=made.rows)
        return made

    async def resume(self) -> None:
        """Delete the files of tenants that came back when a process died before it did so.

        A file with a mark is spent when no row leads to it any more, unless its tenant was deleted
        by a node that kept it.
        """
        try:
            marks = await anyio.to_thread.run_sync(_marks_in, self.state_dir / ARCHIVES)
            if not marks:
                return
            async with self.control.acquire() as connection:
                known = await rows.fetch_all(connection)
            # By their names, which are unique: the directory may be called otherwise since then.
            archived = {Path(row.archive).name for row in known if row.archive is not None}
            kept = {row.id for row in known if row.results == "keep"}
            for path in marks:
                if path.name in archived or tenant_in(path) in kept:
                    await anyio.to_thread.run_sync(_mark_of(path).unlink)
                else:
                    await self._drop_spent(path)
        except (OSError, InsulaError, *DRIVER_ERRORS) as error:
            # The next start goes on.
            log.warning("archives.not_tidied", error=str(error))

    async def retain(self, path: Path) -> None:
        """Have an archive outlive its tenant, also after it was to come back; StorageFailed."""
        with _storage(path.parent):
            await anyio.to_thread.run_sync(partial(_mark_of(path).unlink, missing_ok=True))

    async def _drop_spent(self, path: Path) -> None:
        """Delete an archive whose tenant is back, and then its mark; a failure is no tenant's."""
        try:
            await anyio.to_thread.run_sync(partial(path.unlink, missing_ok=True))
            await anyio.to_thread.run_sync(partial(_mark_of(path).unlink, missing_ok=True))
        except OSError as error:
            log.warning("archive.not_deleted", file=str(path), error=str(error))

    async def store(self, row: TenantRow, path: Path, report: Report) -> int:
        """Write the archive of a tenant that nobody changes any more, and read it back.

        Returns how many rows it has. Raises StorageFailed.
        """
        with _storage(path.parent):
            part = await anyio.to_thread.run_sync(begin_file, path)
        try:
            with writable(part) as file:
                await self._dump(row, file, "all", report)
                archive = await verified(file, self.tenants.spec, foreign=False, report=report)
            with _storage(path.parent):
                await anyio.to_thread.run_sync(finish_file, part, path)
        finally:
            part.unlink(missing_ok=True)
        return archive.manifest.rows

    async def _dump(self, row: TenantRow, file: BinaryIO, runs: Runs, report: Report) -> Manifest:
        target = self.tenants.shards.target_of(row)
        async with self.errands.connection("backup", row, lock_timeout=LOCK_TIMEOUT) as connection:
            dumped = Dumped(row=row, target=target, spec=self.tenants.spec)
            manifest = await dump(connection, dumped, file, runs=runs, report=report)
        log.info("tenant.written", tenant=row.id, rows=manifest.rows)
        return manifest

    async def _provisioned(self, tenant: TenantId) -> TenantRow:
        """Return the row of a tenant that has tables; one that was never used gets them now."""
        async with self.control.acquire() as connection:
            row = await rows.fetch(connection, tenant)
        if row.provisioned_at is not None:
            return row
        await self.tenants.prepare(tenant)
        async with self.control.acquire() as connection:
            return await rows.fetch(connection, tenant)

    async def _declared(self, tenant: TenantId, manifest: Manifest) -> str:
        """Return the shard that a tenant which is to be made of an archive is declared for."""
        try:
            async with self.control.acquire() as connection:
                row = await rows.fetch(connection, tenant)
        except TenantNotFound:
            return self.tenants.declared(tenant, _declaration(manifest, tenant)).shard
        if row.state == "registered":
            return row.shard
        return self.tenants.declared(tenant, _declaration(manifest, tenant)).shard

    async def _make(
        self, place: Place, archive: ArchiveReader, runs: Runs, report: Report
    ) -> RestoredTenant:
        tenant, shards = place.id, self.tenants.shards
        shards.check(shards.known(place.shard))
        declaration = _declaration(archive.manifest, tenant)
        check_declaration(self.tenants.snapshot, tenant, declaration)
        wanted = Restoring(
            tenant=tenant,
            declaration=declaration,
            runs=runs,
            admit=partial(self.tenants.admit, tenant=tenant, declaration=declaration),
            shard=place.shard,
            limits=of_submissions(self.tenants.declared(tenant, declaration).limits),
        )
        loaded = await self._load(place, archive, wanted, report)
        await self.tenants.refresh()
        if tenant in self.tenants.snapshot.tenants:
            await self.tenants.publish()
        return _made(place, archive.manifest, loaded)

    async def _load(
        self, place: Place, archive: ArchiveReader, wanted: Restoring, report: Report
    ) -> Loaded:
        """Make what was asked for, or leave nothing where it was to be."""
        shards, spec = self.tenants.shards, self.tenants.spec
        try:
            await shards.make_ready(place, spec.installation)
            pair = self.errands.pair("restore", place, lock_timeout=LOCK_TIMEOUT)
            async with pair as (control, server):
                return await restore(control, server, archive, wanted, spec, report=report)
        except BaseException:
            if place.shard != CONTROL_SHARD:
                await Arrivals(self.tenants, self.errands).clear_now(place)
            raise


def tenant_in(archive: Path) -> str:
    """Return the id of the tenant whose archive has this path.

    >>> tenant_in(Path("/var/lib/insula/archives/acme-20260301T090000.000000Z.tar"))
    'acme'
    """
    return archive.name.rpartition("-")[0]


def _mark_of(path: Path) -> Path:
    """Return the file whose presence says that the archive's tenant is on its way back."""
    return path.with_name(path.name + RETURNING)


def _marks_in(directory: Path) -> list[Path]:
    """Return the archives that have a mark."""
    found = directory.glob(f"*{RETURNING}")
    return [each.with_name(each.name.removesuffix(RETURNING)) for each in found]


def _write(spool: BinaryIO, content: bytes) -> None:
    _leave_room(spool.fileno())
    spool.write(content)
    spool.flush()  # what finds no room is to be told now, and not when it is read


def _nameless(directory: Path) -> BinaryIO:
    _leave_room(directory)
    file: BinaryIO = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - the caller closes it
    return file


def _leave_room(where: int | Path) -> None:
    """Raise what a full disk raises when only the reserve of this one is left."""
    disk = os.statvfs(where)
    reserve = min(RESERVE_PART * disk.f_blocks * disk.f_frsize, RESERVE_BYTES)
    if disk.f_bavail * disk.f_frsize <= reserve:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _declaration(manifest: Manifest, tenant: TenantId) -> str:
    """Return what the tenant is declared as where it is not declared; names stay with the first."""
    declaration: dict[str, Any] = dict(manifest.declaration)
    if tenant != manifest.tenant:
        declaration["name"] = None
        declaration["aliases"] = []
    return msgspec.json.encode(declaration).decode()


def _made(place: Place, manifest: Manifest, loaded: Loaded) -> RestoredTenant:
    return RestoredTenant(
        tenant=place.id,
        shard=place.shard,
        of=manifest.tenant,
        as_of=manifest.created_at,
        tables=loaded.tables,
        rows=loaded.rows,
        unfinished=loaded.unfinished,
    )


@contextmanager
def _reading(path: Path, tenant: TenantId, *, written_by: str | None, here: str) -> Iterator[None]:
    """Say of a damaged archive its path, and of one that can not be opened what to do.

    That depends on which node wrote it, as far as that is known, and which one reads.
    """
    try:
        yield
    except ArchiveInvalid as error:
        hint = error.hint or "put a whole copy of the file there; the tenant stays archived"
        raise type(error)(f"{path}: {error}", hint=hint, data=error.data) from error
    except OSError as error:
        why = f"the archive {path} can not be read on this node: {error.strerror or error}"
        if written_by != here:
            node = "the node that wrote it" if written_by is None else f"node {written_by!r}"
            hint = f"ask {node} to unarchive it, or copy the file to that path here"
        elif isinstance(error, FileNotFoundError):
            why = f"the archive {path} was written on this node, and is gone"
            hint = (
                "put it back from a backup of the state directory; where there is none, "
                f"`insula tenant delete {tenant} --purge` gives the tenant up"
            )
        else:
            hint = "let the daemon's user read it; the tenant stays archived"
        raise StorageFailed(why, hint=hint, data={"file": str(path), "node": written_by}) from error


@contextmanager
def _storage(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            f"no file can be written in {directory}: {error.strerror or error}",
            hint="make room there, or choose another state directory: [node] state_dir",
        ) from error
