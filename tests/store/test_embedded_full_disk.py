"""A file system that is full: the start fails with what can be done, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.model.errors import StartError
from orchestrator.store.embedded import EmbeddedPostgres
from tests.support.disks import small_disk
from tests.support.server import server_binaries


@pytest.fixture
def small(state_dir: Path) -> Iterator[Path]:
    """Yield a file system that is too small for a database."""
    with small_disk(state_dir / "small", "4m") as place:
        yield place


async def test_a_full_disk_is_said_with_what_to_do(small: Path) -> None:
    with pytest.raises(StartError, match="No space left on device") as refused:
        await EmbeddedPostgres(small, bin_dir=server_binaries()).start()

    assert refused.value.hint == "make room on that file system"
    assert not (small / "postgresql" / "data").exists()
