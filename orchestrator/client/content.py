"""What a client sends: JSON that the daemon and its database can hold, or a file.

What can not be sent is an error before it goes.

JSON: msgspec alone would write NaN as null; a value that is wrong without a word.
"""

from __future__ import annotations

import json
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

PIECE = 1 << 18
"""Bytes of a file that are sent at a time."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""A NUL character in JSON, and not a backslash followed by the letters."""


def encode(body: Any) -> bytes:
    """Return the body of a request; raises InvalidInput or InvalidRequest for what no one can read.

    >>> encode({"by": "ann"})
    b'{"by":"ann"}'
    """
    try:
        text = to_json(body)
    except ValueError as error:
        raise InvalidInput(f"what is to be sent {error}", hint="nothing was sent") from error
    if isinstance(body, msgspec.Struct):
        fit(msgspec.to_builtins(body, str_keys=True), type(body))
    return text.encode()


def to_json(value: Any) -> str:
    """Return `value` as JSON; the ValueError's text goes on from a subject."""
    try:
        plain = msgspec.to_builtins(value, str_keys=True)
        text = json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"has no JSON form: {error}") from error
    if _NUL.search(text):
        raise ValueError("has a NUL character, which PostgreSQL can not hold")
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
