"""A backup that arrives on a full disk: one error, and the file of before is as it was."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from orchestrator.client.arriving import ArrivingFile
from orchestrator.model.errors import StorageFailed
from tests.support.disks import small_disk


@pytest.mark.parametrize("pieces", [[100_000], [100] * 1000])
def test_an_archive_without_room_leaves_the_older_one(tmp_path: Path, pieces: list[int]) -> None:
    with small_disk(tmp_path / "small", "8k") as place:
        path = place / "acme.tar"
        path.write_bytes(b"an older one")
        with pytest.raises(StorageFailed, match="No space left on device"):
            receive(path, pieces)

        assert {each.name: each.read_bytes() for each in place.iterdir()} == {
            "acme.tar": b"an older one"
        }


def receive(path: Path, pieces: list[int]) -> None:
    """Have an answer of pieces of these sizes arrive."""
    with ArrivingFile(path, httpx.Response(200), None) as file:
        for piece in pieces:
            file.add(bytes(piece))
        file.end()
