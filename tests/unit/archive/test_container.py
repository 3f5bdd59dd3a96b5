"""A tar that makes no sense, or leads elsewhere, is an archive that is not taken: nothing worse."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

import pytest

from orchestrator.archive.container import ArchiveReader
from orchestrator.archive.export import ExportReader
from orchestrator.model.errors import ArchiveInvalid

DEEP = b'{"format": 1, "declaration": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def tar_of(content: bytes = b"", **header: object) -> io.BytesIO:
    """Return a tar with a manifest, whose header says what is given."""
    file = io.BytesIO()
    info = tarfile.TarInfo("manifest.json")
    info.size = len(content)
    for name, value in header.items():
        setattr(info, name, value)
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
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
