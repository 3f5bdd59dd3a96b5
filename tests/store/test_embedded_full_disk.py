"""A file system that is full: the start fails with what can be done, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.model.errors import StartError
from orchestrator.store.embedded import EmbeddedPostgres
from tests.support.server import test_binaries as server_binaries


@pytest.fixture
def small(state_dir: Path) -> Iterator[Path]:
    """Yield a file system that is too small for a database."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a file system")
    place = state_dir / "small"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=4m,mode=0711", "tmpfs", str(place)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


async def test_a_full_disk_is_said_with_what_to_do(small: Path) -> None:
    with pytest.raises(StartError, match="No space left on device") as refused:
        await EmbeddedPostgres(small, bin_dir=server_binaries()).start()

    assert refused.value.hint == "make room on that file system"
    assert not (small / "postgresql" / "data").exists()
