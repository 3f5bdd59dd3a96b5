"""The file that keeps the finished runs of a tenant that is deleted: gzip, one JSON value a line.

The first line says what it is, the last how many runs there are and the SHA-256 of all lines before
it, so that a file that was cut short or changed is known as such. The fields of a run are in
`docs/reference/results-file.md`.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec

from orchestrator.lifecycle.files import begin_file, finish_file
from orchestrator.model.errors import StorageFailed

FORMAT = 1
_encode = msgspec.json.Encoder().encode


class ResultsFile:
    """Writes one file, complete or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._count = 0

    async def write(self, header: dict[str, Any], lots: AsyncIterator[list[dict[str, Any]]]) -> int:
        """Write `header` and all runs, and return how many there are. Raises StorageFailed.

        An existing file is replaced at the very end, by a file that is on the disk.
        """
        try:
            building = await anyio.to_thread.run_sync(begin_file, self._path)
            try:
                await self._build(building, header, lots)
            finally:
                building.unlink(missing_ok=True)
        except OSError as error:
            raise self._failed(error) from error
        return self._count

    async def _build(
        self, building: Path, header: dict[str, Any], lots: AsyncIterator[list[dict[str, Any]]]
    ) -> None:
        with gzip.open(building, "wb", compresslevel=6) as file:
            await anyio.to_thread.run_sync(self._add, file, [header])
            async for lot in lots:
                await anyio.to_thread.run_sync(self._add, file, lot)
                self._count += len(lot)
            await anyio.to_thread.run_sync(self._add, file, [self._trailer()])
        await anyio.to_thread.run_sync(finish_file, building, self._path)

    def _add(self, file: gzip.GzipFile, lines: Sequence[dict[str, Any]]) -> None:
        text = b"".join(_encode(line) + b"\n" for line in lines)
        self._digest.update(text)
        file.write(text)

    def _trailer(self) -> dict[str, Any]:
        return {"runs": self._count, "sha256": self._digest.hexdigest()}

    def _failed(self, error: OSError) -> StorageFailed:
        return StorageFailed(
            f"{self._path} can not be written: {error.strerror or error}",
            hint="nothing was deleted; make room there, or delete with --purge",
        )
