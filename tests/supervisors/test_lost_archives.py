"""An archive that is gone, or on another node: what is said of it, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.daemon.inactivity import Inactivity
from orchestrator.http.audit import Record
from orchestrator.model.errors import (
    ArchiveInvalid,
    StorageFailed,
    TenantNotFound,
    TenantStarting,
)
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import unheard
from orchestrator.settings.archive import ArchiveSection
from tests.supervisors.nodes import running_node, snapshot
from tests.supervisors.test_lifecycle import archives, lifecycle, used
from tests.supervisors.test_why import platform_of
from tests.support.database import Database

GLOBEX = TenantId("globex")


async def test_an_archive_that_is_gone_from_the_node_that_wrote_it_is_not_sought_elsewhere(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([])) as node:
        await used(node)
        verbs, whole = archives(node, tmp_path), lifecycle(node, tmp_path)
        async with Record(node.audit, "uid 0").of(GLOBEX, "tenant.archive"):
            file = Path((await whole.archive(GLOBEX)).file)
        file.rename(tmp_path / "lost")  # noqa: ASYNC240 - a moment

        with pytest.raises(StorageFailed, match="was written on this node, and is gone") as lost:
            await verbs.unarchive(GLOBEX, unheard)
        assert "`insula tenant delete globex --purge` gives the tenant up" in lost.value.hint
        await whole.delete("globex", keep=False)


async def test_an_archive_of_another_node_is_said_to_be_there(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([]), name="b") as node:
        await used(node)
        async with Record(node.audit, "uid 0").of(GLOBEX, "tenant.archive"):
            file = Path((await lifecycle(node, tmp_path).archive(GLOBEX)).file)
    file.rename(tmp_path / "on b")  # noqa: ASYNC240 - a moment

    async with running_node(database, snapshot([]), name="a") as node:
        verbs, whole = archives(node, tmp_path), lifecycle(node, tmp_path)
        found = await platform_of(node).why(GLOBEX)
        for said in ("is archived since 20", f"in the file {file} on node 'b'", "unarchive globex"):
            assert said in found.because
        with pytest.raises(StorageFailed, match="can not be read on this node") as refused:
            await verbs.unarchive(GLOBEX, unheard)
        assert (refused.value.hint or "").startswith("ask node 'b' to unarchive it")
        settings = ArchiveSection(restore_on_use=True)
        policy = Inactivity(node.control, whole, verbs, node.audit, lambda: settings)
        with pytest.raises(TenantStarting):
            policy.use(GLOBEX)
        await policy.bring_back()
        policy.use(GLOBEX)  # nobody waits for what does not come
        file.write_text("no archive")  # noqa: ASYNC240 - a moment
        with pytest.raises(ArchiveInvalid, match=f"^{file}: the archive is damaged") as damaged:
            await verbs.unarchive(GLOBEX, unheard)
        assert "stays archived" in (damaged.value.hint or "")
        file.unlink()  # noqa: ASYNC240 - a moment

        deleted = await whole.delete(GLOBEX, keep=False)

        assert deleted.left == str(file)
        with pytest.raises(TenantNotFound):
            await platform_of(node).why(GLOBEX)
