"""What is on its way to or from a tenant stands in the state directory, beside what all need."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator.daemon import archives as verbs
from orchestrator.model.errors import StorageFailed
from tests.supervisors.nodes import running_node, snapshot
from tests.supervisors.test_lifecycle import archives
from tests.support.database import Database


async def test_what_comes_leaves_the_reserve_of_the_disk_to_others(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_node(database, snapshot([])) as node:
        files = archives(node, tmp_path)
        with await files.spool() as spool:
            monkeypatch.setattr(verbs, "RESERVE_PART", 1.0)
            monkeypatch.setattr(verbs, "RESERVE_BYTES", sys.maxsize)
            with pytest.raises(StorageFailed, match="No space left"):
                await files.keep(spool, b"more")
            with pytest.raises(StorageFailed, match="No space left"):
                await files.spool()
