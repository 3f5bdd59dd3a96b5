"""What a client sends: JSON that the daemon and its database can hold, or a file.

What can not be sent is an error before it goes.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import anyio.to_thread
import msgspec

from orchestrator.client.call import Upload
from orchestrator.model.errors import InvalidInput
from orchestrator.model.fit import fit
from orchestrator.model.progress import Progress
from orchestrator.model.values import to_json

PIECE = 1 << 18
"""Bytes of a file that are sent at a time."""

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""A NUL character in JSON, and not a backslash followed by the letters."""


def encode(body: Any) -> bytes:
    """Return the body of a request; raises InvalidInput or InvalidRequest for what no one can read.

    >>> encode({"by": "ann"})
    b'{"by":"ann"}'
    """
    try:
        text = storable("what is to be sent", body)
    except (TypeError, ValueError) as error:
        raise InvalidInput(str(error), hint="nothing was sent") from error
    if isinstance(body, msgspec.Struct):
        fit(msgspec.to_builtins(body, str_keys=True), type(body))
    return text


def storable(what: str, value: Any) -> bytes:
    """Encode `value`, which the error calls `what`, if PostgreSQL can hold it.

    Raises ValueError or TypeError.
    """
    text = to_json(what, value)
    if _NUL.search(text):
        raise ValueError(f"{what} has a NUL character, which PostgreSQL can not hold")
    return text


def pieces_of(upload: Upload) -> Generator[bytes]:
    """Yield a file piece by piece, and report how much of it has been taken."""
    with _opened(upload.source) as file:
        done, total = 0, os.fstat(file.fileno()).st_size
        while piece := file.read(PIECE):
            yield piece
            done += len(piece)
            if upload.report is not None:
                upload.report(Progress("sent", done, total, "bytes"))


@contextmanager
def _opened(source: Path | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
    else:
        source.seek(0)
        yield source


async def pieces_of_async(upload: Upload) -> AsyncIterator[bytes]:
    """Do the same for who must not wait for a disk."""
    pieces = pieces_of(upload)
    try:
        while (piece := await anyio.to_thread.run_sync(next, pieces, None)) is not None:
            yield piece
    finally:
        pieces.close()
