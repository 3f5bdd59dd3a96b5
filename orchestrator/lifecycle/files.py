"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_PART = ".part"


def begin_file(path: Path) -> Path:
    """Make the empty file, for its owner alone, that becomes `path` when it is whole.

    Of a known name: what a death leaves there is overwritten by the next try.
    """
    part = path.with_name(path.name + _PART)
    part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part.unlink(missing_ok=True)
    part.touch(mode=0o600, exist_ok=False)
    return part


def finish_file(part: Path, path: Path) -> None:
    """Give what was written its name, once it is on the disk; an existing file is replaced."""
    _sync(part)
    part.replace(path)
    _sync(path.parent)


def parts_in(state_dir: Path, named: str = "") -> list[Path]:
    """Return the files below a state directory that were begun, whose names begin so."""
    return sorted(state_dir.glob(f"*/{named}*{_PART}"))


def drop_parts(state_dir: Path, named: str) -> None:
    """Delete those files, of which nobody is at one any more."""
    for part in parts_in(state_dir, named):
        part.unlink(missing_ok=True)


@contextmanager
def writable(path: Path) -> Iterator[BinaryIO]:
    """Open a file that is there, to be written and read back; flush it before the end."""
    file = path.open("w+b")
    try:
        yield file
    finally:
        discard(file)


def discard(file: BinaryIO) -> None:
    """Close a file that nobody wants any more: what it could not write was told already."""
    with suppress(OSError):
        file.close()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
