"""A tar that makes no sense, or leads elsewhere, is an archive that is not taken: nothing worse."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.archive import container, export
from orchestrator.archive.container import CHUNK, MANIFEST, ArchiveReader, ArchiveWriter
from orchestrator.archive.export import RUNS, ExportManifest, ExportReader
from orchestrator.archive.manifest import TableEntry
from orchestrator.model.errors import ArchiveInvalid
from tests.http.parts.archives import MOMENT, small_archive

DEEP = b'{"format": 1, "declaration": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def tar_of(content: bytes = b"", *, times: int = 1, **header: object) -> io.BytesIO:
    """Return a tar with a manifest, whose header says what is given."""
    file = io.BytesIO()
    info = tarfile.TarInfo("manifest.json")
    info.size = len(content)
    for name, value in header.items():
        setattr(info, name, value)
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for _ in range(times):
            tar.addfile(info, io.BytesIO(content))
    return file


HOSTILE = {
    "a link to itself": tar_of(type=tarfile.SYMTYPE, linkname="manifest.json"),
    "a link to nothing": tar_of(type=tarfile.LNKTYPE, linkname="gone"),
    "a link out of it": tar_of(type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a directory": tar_of(type=tarfile.DIRTYPE),
    "a device": tar_of(type=tarfile.CHRTYPE),
    "a sparse file with nonsense for a map": tar_of(
        b"{}", pax_headers={"GNU.sparse.map": "x,y", "GNU.sparse.size": "z"}
    ),
    "a sparse file of a terabyte": tar_of(
        b"{}", pax_headers={"GNU.sparse.map": "0,2", "GNU.sparse.size": str(1 << 40)}
    ),
    "two files of one name": tar_of(b"{}", times=2),
    "a manifest nested without end": tar_of(DEEP),
    "a manifest that is no UTF-8": tar_of(b"\xff\xfe"),
}


@pytest.mark.parametrize("read", [ArchiveReader, ExportReader])
@pytest.mark.parametrize("file", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_makes_no_sense_is_refused(
    file: io.BytesIO, read: Callable[[io.BytesIO], object]
) -> None:
    with pytest.raises(ArchiveInvalid):
        read(file)


def test_more_files_than_any_schema_has_tables_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(container, "MOST_MEMBERS", 3)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number in range(4):
            tar.addfile(tarfile.TarInfo(f"data/{number}"))

    with pytest.raises(ArchiveInvalid, match="has more than 3 files"):
        ArchiveReader(file)


def test_rows_that_unpack_to_more_than_the_manifest_says_are_not_read_on() -> None:
    file = io.BytesIO()
    small_archive("acme", file)
    true = ArchiveReader(file)
    bomb = io.BytesIO()
    writer = ArchiveWriter(bomb, mtime=0)
    writer.add("schema.sql", true.text("schema.sql"))
    with writer.table("flight") as rows:
        for _ in range(16):  # what can not be compressed: a reader of gzip reads ahead
            rows.write(os.urandom(CHUNK))
    writer.add(MANIFEST, true.sealed)
    writer.end()

    archive = ArchiveReader(bomb)
    with pytest.raises(ArchiveInvalid, match="'flight' of the archive is not what its manifest"):
        list(archive.check())

    assert bomb.tell() < len(bomb.getvalue()) / 2


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/b", "..", "nul\0"])
def test_an_export_writes_nothing_outside_of_its_directory(tmp_path: Path, name: str) -> None:
    file, content = io.BytesIO(), b"id\n1\n"
    entry = TableEntry(
        name="t", file=name, rows=1, columns=["id"], sha256=hashlib.sha256(content).hexdigest()
    )
    runs = TableEntry(name="wf_run", columns=[], file=RUNS, sha256=hashlib.sha256(b"").hexdigest())
    manifest = ExportManifest(
        tenant="acme", created_at=MOMENT, kind="csv", app=[], tables=[entry], runs=runs
    )
    writer = ArchiveWriter(file, mtime=0)
    for member, text in ((name, content), (RUNS, b""), (MANIFEST, export.encode(manifest))):
        writer.add(member, text)
    writer.end()

    with pytest.raises(ArchiveInvalid):
        ExportReader(file).unpack(tmp_path / "into" / "acme")

    assert [each.name for each in tmp_path.rglob("*")] == ["into"]
