"""Files on their way here: each takes its name when it is whole, or is gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import httpx

from orchestrator.archive.container import ArchiveReader
from orchestrator.archive.export import ExportReader
from orchestrator.model.archives import BackupReport, ExportReport
from orchestrator.model.errors import StorageFailed
from orchestrator.model.progress import Progress, Report


def refuse_there(directory: Path) -> None:
    """Raise StorageFailed for a directory that is there already: nothing of it is replaced."""
    if directory.exists():
        raise StorageFailed(f"{directory} is there already", hint="name one that is not")


def refuse_irregular(path: Path) -> None:
    """Raise StorageFailed for a directory, a device or a pipe: a backup replaces files alone."""
    if path.exists() and not path.is_file():
        raise StorageFailed(f"{path} is there already, and is no file", hint="name one")


class Arriving:
    """A file on its way here: `end` makes of it what was asked for, and it is gone then."""

    def __init__(self, path: Path, answer: httpx.Response, report: Report | None) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        size = answer.headers.get("Content-Length")
        self._total = None if size is None else int(size)
        self._report = report
        self._done = 0

    def __enter__(self) -> Self:
        with _writing(self._path):
            # Made anew, for its owner alone: what is there may be a link, or open to others.
            self._part.unlink(missing_ok=True)
            part = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            self._file = os.fdopen(part, "w+b")
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what it could not write was told already
            self._file.close()
        self._part.unlink(missing_ok=True)

    def add(self, piece: bytes) -> None:
        """Write a piece."""
        with _writing(self._path):
            self._file.write(piece)
        self._done += len(piece)
        if self._report is not None:
            self._report(Progress("received", self._done, self._total, "bytes"))


class ArrivingDirectory(Arriving):
    """An export on its way here, which becomes a directory."""

    def __init__(self, path: Path, answer: httpx.Response, report: Report | None) -> None:
        super().__init__(path.with_name(f"{path.name}.tar"), answer, report)
        self._directory = path

    def end(self) -> ExportReport:
        """Check the files, and make the directory of them."""
        with _writing(self._directory):
            self._file.flush()
            export = ExportReader(self._file)
            export.unpack(self._directory)
        manifest = export.manifest
        return ExportReport(
            tenant=manifest.tenant,
            directory=str(self._directory),
            tables=len(manifest.tables),
            rows=sum(table.rows for table in manifest.tables),
            runs=manifest.runs.rows,
            sealed=manifest.sealed,
        )


class ArrivingFile(Arriving):
    """An archive on its way here: it takes its name when it is whole, right and on the disk."""

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
