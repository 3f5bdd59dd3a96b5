"""What an export is: a directory of files that any program reads, and a tar of them on the way."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, BinaryIO, Literal, TypeAlias

import msgspec

from orchestrator.archive.container import CHUNK, LARGEST_TEXT, MANIFEST, damage, members_of
from orchestrator.archive.manifest import LedgerEntry, TableEntry
from orchestrator.model.errors import ArchiveInvalid, ArchiveTooNew

FORMAT = 1
RUNS = "wf_run.jsonl"
"""No table of an application begins with wf_, so none has a file of this name."""

Kind: TypeAlias = Literal["csv", "jsonl"]
"""The form of the rows: CSV with a line of headings, or a JSON object a line."""


class ExportManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in an export; `rows`, `bytes` and `sha256` of a table are those of its file.

    `sealed` when values among the runs are written `insula:sealed:…`: only the installation that
    has the tenant's key reads them.
    """

    format: int = FORMAT
    tenant: str
    created_at: datetime
    kind: Kind
    app: list[LedgerEntry]
    tables: list[TableEntry]
    runs: TableEntry
    sealed: bool = False

    @property
    def files(self) -> list[TableEntry]:
        """Every file but the manifest."""
        return [*self.tables, self.runs]


class ExportReader:
    """Reads an export from a tar that can be sought, and believes nothing; ArchiveInvalid."""

    def __init__(self, file: BinaryIO) -> None:
        with damage("export"):
            file.seek(0)
            self._tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - the file is not ours
            self._members = members_of(self._tar, "export")
        if MANIFEST not in self._members:
            raise ArchiveInvalid("the export has no manifest.json")
        with damage("export"), self._open(MANIFEST) as content:
            self.manifest = decode(content.read(LARGEST_TEXT))

    def pieces(self, entry: TableEntry) -> Iterator[bytes]:
        """Yield a file, and find out whether it is what the manifest says."""
        digest = hashlib.sha256()
        with damage("export"), self._open(entry.file or "") as content:
            while piece := content.read(CHUNK):
                digest.update(piece)
                yield piece
        if digest.hexdigest() != entry.sha256:
            raise ArchiveInvalid(f"{entry.file} of the export is not what its manifest says")

    def check(self) -> None:
        """Read everything once."""
        for entry in self.manifest.files:
            for _ in self.pieces(entry):
                pass

    def unpack(self, directory: Path) -> None:
        """Write the files that the manifest names, and no others, into a new directory.

        They are there as a whole or not at all; FileExistsError when something is there already.
        """
        part = directory.with_name(f"{directory.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700, parents=True)
        try:
            for entry in self.manifest.files:
                with (part / _plain(entry.file)).open("xb") as file:
                    file.writelines(self.pieces(entry))
            (part / MANIFEST).write_bytes(encode(self.manifest))
            part.rename(directory)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    @contextmanager
    def _open(self, name: str) -> Iterator[BinaryIO]:
        member = self._members.get(name)
        content = None if member is None else self._tar.extractfile(member)
        if content is None:
            raise ArchiveInvalid(f"the export lacks {name!r}, which its manifest names")
        with content:
            yield content  # type: ignore[misc]  # typeshed: IO[bytes]


def pack(directory: Path, file: IO[bytes]) -> None:
    """Write the files of an export that its manifest names into a tar; ArchiveInvalid."""
    manifest = decode((directory / MANIFEST).read_bytes())
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in (*(_plain(each.file) for each in manifest.files), MANIFEST):
            tar.add(directory / name, arcname=name, recursive=False)


def encode(manifest: ExportManifest) -> bytes:
    """Return a manifest as the export has it."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(content: bytes) -> ExportManifest:
    """Read a manifest; ArchiveInvalid, ArchiveTooNew."""
    try:
        manifest = msgspec.json.decode(content, type=ExportManifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArchiveInvalid(f"the manifest of the export can not be read: {error}") from error
    if manifest.format > FORMAT:
        raise ArchiveTooNew(f"the export has format {manifest.format}, {FORMAT} is known here")
    return manifest


def _plain(name: str | None) -> str:
    """Return the name of a file that stays in its directory."""
    if not name or name in {".", ".."} or os.sep in name or "\0" in name:
        raise ArchiveInvalid(f"{name!r} is no name of a file of an export")
    return name
