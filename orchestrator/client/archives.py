"""Whole tenants as files and copies of them, for both clients."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio.to_thread

from orchestrator.archive.container import ArchiveReader
from orchestrator.archive.export import Kind, pack
from orchestrator.archive.manifest import Manifest, Runs
from orchestrator.client import calls
from orchestrator.client.arriving import (
    ArrivingDirectory,
    ArrivingFile,
    refuse_irregular,
    refuse_there,
)
from orchestrator.client.call import Upload
from orchestrator.client.sending import Open, OpenNow, Send, SendNow
from orchestrator.model.archives import (
    ArchivedTenant,
    BackupReport,
    ExportReport,
    ImportedRows,
    RestoredTenant,
)
from orchestrator.model.errors import ArchiveInvalid, StorageFailed
from orchestrator.model.progress import Report


def manifest_of(path: Path) -> Manifest:
    """Return what an archive on this machine says of itself; ArchiveInvalid, StorageFailed.

    >>> manifest_of(Path("acme_corp.tar")).tenant  # doctest: +SKIP
    'acme_corp'
    """
    with _reading(path), path.open("rb") as file:
        return ArchiveReader(file).manifest


class TenantArchives:
    """A tenant as a file; `TenantClient.archives` is one."""

    def __init__(self, send: Send, stream: Open, tenant: str) -> None:
        self._send = send
        self._stream = stream
        self._tenant = tenant

    async def backup(
        self, path: Path, *, runs: Runs = "all", report: Report | None = None
    ) -> BackupReport:
        """Write the tenant as it is now into a file here, whole or not at all, and check it.

        >>> (await tenant.archives.backup(Path("acme_corp.tar"))).rows  # doctest: +SKIP
        1200
        """
        refuse_irregular(path)
        async with self._stream(calls.backup_tenant(self._tenant, runs)) as answer:
            with ArrivingFile(path, answer, report) as file:
                async for piece in answer.aiter_raw():
                    await anyio.to_thread.run_sync(file.add, piece)
                return await anyio.to_thread.run_sync(file.end)

    async def restore(
        self,
        path: Path,
        *,
        of: str | None = None,
        runs: Runs | None = None,
        foreign: bool = False,
        to: str | None = None,
        report: Report | None = None,
    ) -> RestoredTenant:
        """Make this tenant, which is not there, of an archive: its own, or that of tenant `of`.

        Runs that have not finished go on; under another id they are left out, unless `runs` says
        what to take. `foreign` takes an archive of another installation. It is made on the shard
        `to`, or where it is declared.

        >>> (await tenant.archives.restore(Path("acme_corp.tar"))).unfinished  # doctest: +SKIP
        2
        """
        upload = Upload(path, report)
        call = calls.restore_tenant(self._tenant, upload, of=of, runs=runs, foreign=foreign, to=to)
        with _reading(path):
            return await self._send(call, report)

    async def clone(
        self,
        into: str,
        *,
        runs: Runs = "none",
        to: str | None = None,
        report: Report | None = None,
    ) -> RestoredTenant:
        """Make another tenant like this one, which goes on; its runs are left out unless asked for.

        It is made beside this one, or on the shard `to`.

        >>> (await client.tenant("template").archives.clone("globex")).tenant  # doctest: +SKIP
        'globex'
        """
        return await self._send(calls.clone_tenant(self._tenant, into, runs, to=to), report)

    async def archive(
        self, *, force: bool = False, wait: float = 0.0, report: Report | None = None
    ) -> ArchivedTenant:
        """Write the tenant into a file on the server, and drop it; only its id stays taken.

        TenantInUse when it has unfinished runs, after `wait` seconds, unless `force`: then they go
        on when it is back.

        >>> (await tenant.archives.archive()).file  # doctest: +SKIP
        '/var/lib/insula/archives/acme_corp-20261121T120000.304718Z.tar'
        """
        call = calls.archive_tenant(self._tenant, force=force, wait=wait)
        return await self._send(call, report)

    async def unarchive(
        self, *, to: str | None = None, report: Report | None = None
    ) -> RestoredTenant:
        """Bring the tenant, which is archived, back as it was: where it lived, or on shard `to`.

        >>> (await tenant.archives.unarchive()).unfinished  # doctest: +SKIP
        0
        """
        return await self._send(calls.unarchive_tenant(self._tenant, to=to), report)

    async def export(
        self,
        directory: Path,
        *,
        kind: Kind = "csv",
        unsealed: bool = False,
        report: Report | None = None,
    ) -> ExportReport:
        """Write the application's rows, and the finished runs, into a new directory.

        What runs carry stays sealed, where the tenant seals it, unless it is to be `unsealed`.

        >>> (await tenant.archives.export(Path("acme"))).tables  # doctest: +SKIP
        3
        """
        refuse_there(directory)
        async with self._stream(
            calls.export_tenant(self._tenant, kind, unsealed=unsealed)
        ) as answer:
            with ArrivingDirectory(directory, answer, report) as file:
                async for piece in answer.aiter_raw():
                    await anyio.to_thread.run_sync(file.add, piece)
                return await anyio.to_thread.run_sync(file.end)

    async def add(self, directory: Path, *, report: Report | None = None) -> ImportedRows:
        """Add the rows of an export to the tenant's tables: all of them, or none.

        >>> (await tenant.archives.add(Path("acme"))).rows  # doctest: +SKIP
        1200
        """
        # Without a name, so that nothing of it is left when this process is killed.
        with tempfile.TemporaryFile() as packed, _reading(directory):
            await anyio.to_thread.run_sync(pack, directory, packed)
            upload = Upload(packed, report)
            return await self._send(calls.import_rows(self._tenant, upload), report)


class SyncTenantArchives:
    """A tenant as a file; `SyncTenantClient.archives` is one."""

    def __init__(self, send: SendNow, stream: OpenNow, tenant: str) -> None:
        self._send = send
        self._stream = stream
        self._tenant = tenant

    def backup(
        self, path: Path, *, runs: Runs = "all", report: Report | None = None
    ) -> BackupReport:
        """Write the tenant as it is now into a file here, whole or not at all, and check it.

        >>> tenant.archives.backup(Path("acme_corp.tar")).rows  # doctest: +SKIP
        1200
        """
        refuse_irregular(path)
        with (
            self._stream(calls.backup_tenant(self._tenant, runs)) as answer,
            ArrivingFile(path, answer, report) as file,
        ):
            for piece in answer.iter_raw():
                file.add(piece)
            return file.end()

    def restore(
        self,
        path: Path,
        *,
        of: str | None = None,
        runs: Runs | None = None,
        foreign: bool = False,
        to: str | None = None,
        report: Report | None = None,
    ) -> RestoredTenant:
        """Make this tenant, which is not there, of an archive: its own, or that of tenant `of`.

        Runs that have not finished go on; under another id they are left out, unless `runs` says
        what to take. `foreign` takes an archive of another installation. It is made on the shard
        `to`, or where it is declared.

        >>> tenant.archives.restore(Path("acme_corp.tar")).unfinished  # doctest: +SKIP
        2
        """
        upload = Upload(path, report)
        call = calls.restore_tenant(self._tenant, upload, of=of, runs=runs, foreign=foreign, to=to)
        with _reading(path):
            return self._send(call, report)

    def clone(
        self,
        into: str,
        *,
        runs: Runs = "none",
        to: str | None = None,
        report: Report | None = None,
    ) -> RestoredTenant:
        """Make another tenant like this one, which goes on; its runs are left out unless asked for.

        It is made beside this one, or on the shard `to`.

        >>> client.tenant("template").archives.clone("globex").tenant  # doctest: +SKIP
        'globex'
        """
        return self._send(calls.clone_tenant(self._tenant, into, runs, to=to), report)

    def archive(
        self, *, force: bool = False, wait: float = 0.0, report: Report | None = None
    ) -> ArchivedTenant:
        """Write the tenant into a file on the server, and drop it; only its id stays taken.

        TenantInUse when it has unfinished runs, after `wait` seconds, unless `force`: then they go
        on when it is back.

        >>> tenant.archives.archive().file  # doctest: +SKIP
        '/var/lib/insula/archives/acme_corp-20261121T120000.304718Z.tar'
        """
        call = calls.archive_tenant(self._tenant, force=force, wait=wait)
        return self._send(call, report)

    def unarchive(self, *, to: str | None = None, report: Report | None = None) -> RestoredTenant:
        """Bring the tenant, which is archived, back as it was: where it lived, or on shard `to`.

        >>> tenant.archives.unarchive().unfinished  # doctest: +SKIP
        0
        """
        return self._send(calls.unarchive_tenant(self._tenant, to=to), report)

    def export(
        self,
        directory: Path,
        *,
        kind: Kind = "csv",
        unsealed: bool = False,
        report: Report | None = None,
    ) -> ExportReport:
        """Write the application's rows, and the finished runs, into a new directory.

        What runs carry stays sealed, where the tenant seals it, unless it is to be `unsealed`.

        >>> tenant.archives.export(Path("acme")).tables  # doctest: +SKIP
        3
        """
        refuse_there(directory)
        with (
            self._stream(calls.export_tenant(self._tenant, kind, unsealed=unsealed)) as answer,
            ArrivingDirectory(directory, answer, report) as file,
        ):
            for piece in answer.iter_raw():
                file.add(piece)
            return file.end()

    def add(self, directory: Path, *, report: Report | None = None) -> ImportedRows:
        """Add the rows of an export to the tenant's tables: all of them, or none.

        >>> tenant.archives.add(Path("acme")).rows  # doctest: +SKIP
        1200
        """
        # Without a name, so that nothing of it is left when this process is killed.
        with tempfile.TemporaryFile() as packed, _reading(directory):
            pack(directory, packed)
            upload = Upload(packed, report)
            return self._send(calls.import_rows(self._tenant, upload), report)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name the file that can not be read, or is no archive."""
    try:
        yield
    except ArchiveInvalid as error:
        hint = error.hint or "take a whole copy of the file that `tenant backup` wrote"
        raise type(error)(f"{path}: {error}", hint=hint, data=error.data) from error
    except OSError as error:
        # Of a directory it is one of its files.
        raise StorageFailed(
            f"{error.filename or path} can not be read: {error.strerror or error}"
        ) from error
