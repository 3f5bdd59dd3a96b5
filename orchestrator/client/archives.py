"""Whole tenants as files, for both clients: backup, restore, clone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import anyio.to_thread
import httpx

from orchestrator.archive.container import ArchiveReader
from orchestrator.archive.manifest import Manifest, Runs
from orchestrator.client import calls
from orchestrator.client.calls import Call, Upload
from orchestrator.client.lifecycle import Send, SendNow
from orchestrator.model.archives import ArchivedTenant, BackupReport, RestoredTenant
from orchestrator.model.errors import StorageFailed
from orchestrator.model.progress import Progress, Report

T = TypeVar("T")


class Open(Protocol):
    """`Client.open`."""

    def __call__(self, call: Call[Any], /) -> AbstractAsyncContextManager[httpx.Response]: ...


class OpenNow(Protocol):
    """`SyncClient.open`."""

    def __call__(self, call: Call[Any], /) -> AbstractContextManager[httpx.Response]: ...


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
        report: Report | None = None,
    ) -> RestoredTenant:
        """Make this tenant, which is not there, of an archive: its own, or that of tenant `of`.

        Runs that have not finished go on; under another id they are left out, unless `runs` says
        what to take. `foreign` takes an archive of another installation.

        >>> (await tenant.archives.restore(Path("acme_corp.tar"))).unfinished  # doctest: +SKIP
        2
        """
        upload = Upload(path, report)
        call = calls.restore_tenant(self._tenant, upload, of=of, runs=runs, foreign=foreign)
        with _reading(path):
            return await self._send(call, report)

    async def clone(
        self, into: str, *, runs: Runs = "none", report: Report | None = None
    ) -> RestoredTenant:
        """Make another tenant like this one, which goes on; its runs are left out unless asked for.

        >>> (await client.tenant("template").archives.clone("globex")).tenant  # doctest: +SKIP
        'globex'
        """
        return await self._send(calls.clone_tenant(self._tenant, into, runs), report)

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

    async def unarchive(self, *, report: Report | None = None) -> RestoredTenant:
        """Bring the tenant, which is archived, back as it was.

        >>> (await tenant.archives.unarchive()).unfinished  # doctest: +SKIP
        0
        """
        return await self._send(calls.unarchive_tenant(self._tenant), report)


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
        report: Report | None = None,
    ) -> RestoredTenant:
        """Make this tenant, which is not there, of an archive: its own, or that of tenant `of`.

        Runs that have not finished go on; under another id they are left out, unless `runs` says
        what to take. `foreign` takes an archive of another installation.

        >>> tenant.archives.restore(Path("acme_corp.tar")).unfinished  # doctest: +SKIP
        2
        """
        upload = Upload(path, report)
        call = calls.restore_tenant(self._tenant, upload, of=of, runs=runs, foreign=foreign)
        with _reading(path):
            return self._send(call, report)

    def clone(
        self, into: str, *, runs: Runs = "none", report: Report | None = None
    ) -> RestoredTenant:
        """Make another tenant like this one, which goes on; its runs are left out unless asked for.

        >>> client.tenant("template").archives.clone("globex").tenant  # doctest: +SKIP
        'globex'
        """
        return self._send(calls.clone_tenant(self._tenant, into, runs), report)

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

    def unarchive(self, *, report: Report | None = None) -> RestoredTenant:
        """Bring the tenant, which is archived, back as it was.

        >>> tenant.archives.unarchive().unfinished  # doctest: +SKIP
        0
        """
        return self._send(calls.unarchive_tenant(self._tenant), report)


class ArrivingFile:
    """A file that is on its way here: it takes its name when it is whole, right and on the disk.

    Until then it is `NAME.part`, which does not outlive this; StorageFailed, ArchiveInvalid.
    """

    def __init__(self, path: Path, answer: httpx.Response, report: Report | None) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        size = answer.headers.get("Content-Length")
        self._total = None if size is None else int(size)
        self._report = report
        self._done = 0

    def __enter__(self) -> ArrivingFile:
        with _writing(self._path):
            self._file = self._part.open("w+b")
            self._part.chmod(0o600)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    def add(self, piece: bytes) -> None:
        """Write a piece."""
        with _writing(self._path):
            self._file.write(piece)
        self._done += len(piece)
        if self._report is not None:
            self._report(Progress("received", self._done, self._total, "bytes"))

    def end(self) -> BackupReport:
        """Check the file, and give it its name."""
        with _writing(self._path):
            self._file.flush()
            archive = ArchiveReader(self._file)
            for _ in archive.check():
                pass
            os.fsync(self._file.fileno())
            self._part.replace(self._path)
        manifest = archive.manifest
        return BackupReport(
            tenant=manifest.tenant,
            file=str(self._path),
            created_at=manifest.created_at,
            bytes=self._done,
            tables=len(manifest.tables),
            rows=manifest.rows,
        )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            f"{path} can not be written: {error.strerror or error}", hint="nothing is left of it"
        ) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(f"{path} can not be read: {error.strerror or error}") from error
