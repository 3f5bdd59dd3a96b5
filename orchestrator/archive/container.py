"""The container of an archive: an uncompressed tar whose tables are gzip files of their own.

So each member is found without reading those before it, and a table is written as it comes: its
header is corrected when its size is known, which needs a file that can be sought.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO
from urllib.parse import quote

from orchestrator.archive import manifest as manifests
from orchestrator.archive.manifest import Manifest, TableEntry
from orchestrator.model.errors import ArchiveInvalid

MANIFEST = "manifest.json"
SEAL = "manifest.mac"
CHUNK = 1 << 20
"""Bytes that are read, or handed on, at a time."""

LARGEST_TEXT = 256 << 20
"""Bytes of the largest member that is read as a whole: manifest and definitions."""

MOST_MEMBERS = 100_000
"""Files of an archive: each is held in memory, and no schema has so many tables."""

_COMPRESSION = 4
"""Beyond it gzip takes twice the time for a few per cent."""

_BLOCK = tarfile.BLOCKSIZE
_NONSENSE = (ValueError, OverflowError)


def member_of(table: str) -> str:
    """Return the name of the member with the rows of `table`, a name that any tar can unpack.

    >>> member_of("flight")
    'data/flight.copy.gz'
    """
    return f"data/{quote(table, safe='')}.copy.gz"


class ArchiveWriter:
    """Writes one archive from the present position of `file` on; not for two threads at a time."""

    def __init__(self, file: BinaryIO, *, mtime: float) -> None:
        self._file = file
        self._mtime = mtime

    def add(self, name: str, content: bytes) -> str:
        """Add a member that is known as a whole; return its SHA-256."""
        with self._member(name):
            self._file.write(content)
        return hashlib.sha256(content).hexdigest()

    @contextmanager
    def table(self, name: str) -> Iterator[TableWriter]:
        """Add the rows of a table, as they are written to what this yields."""
        with self._member(member_of(name)):
            writer = TableWriter(self._file)
            yield writer
            writer.end()

    @contextmanager
    def plain(self, name: str) -> Iterator[TableWriter]:
        """Add a member as it is written to what this yields, not compressed."""
        with self._member(name):
            yield TableWriter(self._file, packed=False)

    def end(self) -> None:
        """Write the end mark, after which there is no more."""
        self._file.write(b"\0" * 2 * _BLOCK)
        self._file.flush()

    @contextmanager
    def _member(self, name: str) -> Iterator[None]:
        info = tarfile.TarInfo(name)
        info.mode, info.mtime = 0o600, self._mtime
        start = self._file.tell()
        self._file.write(self._header(info))
        content = self._file.tell()
        yield
        end = self._file.tell()
        info.size = end - content
        self._file.write(b"\0" * (-info.size % _BLOCK))
        self._file.seek(start)
        self._file.write(self._header(info))
        self._file.seek(0, 2)

    @staticmethod
    def _header(info: tarfile.TarInfo) -> bytes:
        # Of the formats, only this one's header is as long for a large size as for none.
        return info.tobuf(format=tarfile.GNU_FORMAT)


class TableWriter:
    """Compresses the rows of one table, and counts them: COPY's text has one line for each."""

    def __init__(self, file: BinaryIO, *, packed: bool = True) -> None:
        self._packed = packed
        self._file: BinaryIO | gzip.GzipFile = file
        if packed:
            self._file = gzip.GzipFile(
                filename="", mode="wb", compresslevel=_COMPRESSION, fileobj=file, mtime=0
            )
        self._digest = hashlib.sha256()
        self.rows = 0
        self.bytes = 0

    def write(self, rows: bytes) -> None:
        """Add some of the rows' text."""
        self._file.write(rows)
        self._digest.update(rows)
        self.rows += rows.count(b"\n")
        self.bytes += len(rows)

    def end(self) -> None:
        """Write what is left."""
        if self._packed:
            self._file.close()

    @property
    def sha256(self) -> str:
        """The digest of the text so far."""
        return self._digest.hexdigest()


class ArchiveReader:
    """Reads one archive from a file that can be sought; not for two threads at a time.

    Whatever is wrong with it is an ArchiveInvalid. Nothing of it is believed, so `check` comes
    before `rows`.
    """

    def __init__(self, file: BinaryIO) -> None:
        with damage("archive"):
            file.seek(0)
            self._tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - the file is not ours
            self._members = members_of(self._tar, "archive")
        if MANIFEST not in self._members:
            raise ArchiveInvalid(
                "the archive has no manifest: it is cut off, or is none",
                hint="the manifest comes last, so that a file without one is not whole",
            )
        self.sealed = self.text(MANIFEST)
        self.manifest: Manifest = manifests.decode(self.sealed)

    @property
    def seal(self) -> bytes:
        """What says that this installation wrote the manifest; empty when nothing does."""
        return self.text(SEAL).strip() if SEAL in self._members else b""

    def text(self, name: str) -> bytes:
        """Return a member as a whole."""
        with damage("archive"), self._open(name) as content:
            found = content.read(LARGEST_TEXT + 1)
        if len(found) > LARGEST_TEXT:
            raise ArchiveInvalid(f"{name} of the archive is too large")
        return found

    def rows(self, table: TableEntry) -> Iterator[bytes]:
        """Yield the text of a table's rows."""
        assert table.file is not None  # noqa: S101 - the callers ask for those that have rows
        with damage("archive"), self._open(table.file) as packed, gzip.open(packed) as content:
            while rows := content.read(CHUNK):
                yield rows

    def check(self) -> Iterator[int]:
        """Compare everything with the manifest; yield the bytes of text that were found right.

        Raises ArchiveInvalid for what is missing, was changed, or does not belong there.
        """
        named = {table.file for table in self.manifest.tables if table.file is not None}
        named |= {MANIFEST, SEAL, *self.manifest.files}
        if strange := sorted(self._members.keys() - named):
            raise ArchiveInvalid(f"the archive has what its manifest does not name: {strange[0]}")
        for name, digest in self.manifest.files.items():
            if hashlib.sha256(self.text(name)).hexdigest() != digest:
                raise ArchiveInvalid(f"{name} of the archive is not what its manifest says")
        for table in self.manifest.tables:
            if table.file is not None:
                yield from self._check_table(table)

    def _check_table(self, table: TableEntry) -> Iterator[int]:
        digest, rows, size = hashlib.sha256(), 0, 0
        for text in self.rows(table):
            digest.update(text)
            rows += text.count(b"\n")
            size += len(text)
            if size > table.bytes:
                break
            yield len(text)
        if (digest.hexdigest(), rows, size) != (table.sha256, table.rows, table.bytes):
            raise ArchiveInvalid(
                f"table {table.name!r} of the archive is not what its manifest says"
            )

    @contextmanager
    def _open(self, name: str) -> Iterator[BinaryIO]:
        member = self._members.get(name)
        content = None if member is None else self._tar.extractfile(member)
        if content is None:
            raise ArchiveInvalid(f"the archive lacks {name}, which its manifest names")
        with content:
            yield content  # type: ignore[misc]  # typeshed: IO[bytes]


def members_of(tar: tarfile.TarFile, what: str) -> dict[str, tarfile.TarInfo]:
    """Return the files of a tar by name; ArchiveInvalid when anything else is in it.

    A sparse file is none: a few bytes of it unpack to as many as its header likes to say.
    """
    members: dict[str, tarfile.TarInfo] = {}
    for member in tar:
        if not member.isreg() or member.issparse():
            raise ArchiveInvalid(f"{member.name!r} of the {what} is no plain file")
        if member.name in members:
            raise ArchiveInvalid(f"{member.name!r} is in the {what} twice")
        if len(members) == MOST_MEMBERS:
            raise ArchiveInvalid(f"the {what} has more than {MOST_MEMBERS:,} files")
        members[member.name] = member
    return members


@contextmanager
def damage(what: str) -> Iterator[None]:
    """Say of what the standard library finds wrong with a tar, or in it, that it is the file.

    Headers that make no sense, of sparse files for example, are ValueErrors and OverflowErrors.
    """
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, *_NONSENSE) as error:
        raise ArchiveInvalid(f"the {what} is damaged, or is none: {error}") from error
