"""What operators do with whole tenants as files: backup, restore, clone."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import anyio
import pytest

from orchestrator.model.api import CreateTenant
from orchestrator.model.errors import (
    ArchiveInvalid,
    StorageFailed,
    TenantExists,
    TenantNotFound,
)
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import Progress, unheard
from tests.supervisors.nodes import running_node, snapshot
from tests.supervisors.test_lifecycle import archives, lifecycle
from tests.supervisors.workflows import GATES
from tests.support.database import Database

ACME, GLOBEX, AGAIN = TenantId("acme"), TenantId("globex"), TenantId("again")


async def test_a_tenant_comes_back_with_what_it_had_and_goes_on(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([])) as node:
        verbs, whole = archives(node, tmp_path), lifecycle(node, tmp_path)
        request = CreateTenant(id="globex", aliases=["glo"], set={"limits.max_queue_length": 5})
        await node.tenants.register(request)
        await node.submit("globex")
        await node.until_finished("globex", 1)
        await node.hold("globex", "comes back")
        with await verbs.backup(GLOBEX, runs="all") as spool:
            GATES.open("comes back")
            await node.until_finished("globex", 2)
            await whole.delete("globex", keep=False)
            made = await verbs.restore(
                GLOBEX, spool, of=None, runs=None, foreign=False, report=unheard
            )

        assert (made.of, made.unfinished) == ("globex", 1)
        assert node.root.resolve("glo") == GLOBEX
        assert node.slot("globex").config.limits.max_queue_length == 5
        await node.until_finished("globex", 2)


async def test_under_another_id_runs_that_were_not_finished_are_left_out(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        verbs = archives(node, tmp_path)
        await node.submit("acme")
        await node.until_finished("acme", 1)
        await node.hold("acme", "left out")
        with await verbs.backup(ACME, runs="all") as spool:
            made = await verbs.restore(
                AGAIN, spool, of="acme", runs=None, foreign=False, report=unheard
            )
        GATES.open("left out")

        assert made.unfinished == 0
        assert await node.finished("again") == 1
        await node.submit("again")
        await node.until_finished("again", 2)
        await node.until_finished("acme", 2)


async def test_a_clone_has_the_tables_and_data_and_leaves_no_file(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["template"])) as node:
        told: list[Progress] = []
        await node.submit("template")
        await node.until_finished("template", 1)

        made = await archives(node, tmp_path).clone(
            TenantId("template"), GLOBEX, runs="none", report=told.append
        )

        assert (made.of, made.unfinished) == ("template", 0)
        assert {each.phase for each in told} > {"definitions", "rows", "registry"}
        assert await node.finished("globex") == 0
        assert os.listdir(tmp_path) == []  # noqa: PTH208 - not blocking for long
        await node.submit("globex")
        await node.until_finished("globex", 1)


async def test_a_declared_tenant_that_was_never_used_is_filled(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme", "globex"])) as node:
        verbs = archives(node, tmp_path)
        await node.submit("acme")
        await node.until_finished("acme", 1)

        await verbs.clone(ACME, GLOBEX, runs="finished", report=unheard)

        assert await node.finished("globex") == 1
        assert node.slot("globex").config.source == "file"
        with pytest.raises(TenantExists, match="'globex' is there already"):
            await verbs.clone(ACME, GLOBEX, runs="none", report=unheard)


async def test_nothing_is_made_of_an_archive_that_can_not_be_taken(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([])) as node:
        verbs = archives(node, tmp_path)
        await node.tenants.register(CreateTenant(id="globex", aliases=["glo"]))
        with await verbs.backup(GLOBEX, runs="all") as spool:

            async def restored(of: str | None) -> None:
                await verbs.restore(AGAIN, spool, of=of, runs=None, foreign=False, report=unheard)

            with pytest.raises(ArchiveInvalid, match="is of tenant 'globex', not of 'again'"):
                await restored(None)
            with pytest.raises(TenantExists), BytesIO(b"not even looked at") as nothing:
                await verbs.restore(
                    GLOBEX, nothing, of=None, runs=None, foreign=False, report=unheard
                )
            await lifecycle(node, tmp_path).delete("globex", keep=False)
            await node.tenants.register(CreateTenant(id="initech", aliases=["glo"]))
            with pytest.raises(TenantExists, match="'glo' is taken by tenant 'initech'"):
                await verbs.restore(
                    GLOBEX, spool, of=None, runs=None, foreign=False, report=unheard
                )

        assert await node.sql("SELECT to_regnamespace('tenant_again')") is None
        assert await node.sql("SELECT to_regnamespace('tenant_globex')") is None
        with pytest.raises(TenantNotFound):
            node.root.resolve("globex")


async def test_of_two_that_restore_at_once_one_does(database: Database, tmp_path: Path) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        verbs, ended = archives(node, tmp_path), list[str]()
        await node.submit("acme")

        async def clone() -> None:
            try:
                await verbs.clone(ACME, GLOBEX, runs="none", report=unheard)
                ended.append("made")
            except TenantExists:
                ended.append("too late")

        async with anyio.create_task_group() as group:
            group.start_soon(clone)
            group.start_soon(clone)

        assert sorted(ended) == ["made", "too late"]


async def test_a_state_directory_without_room_is_told(database: Database, tmp_path: Path) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        with pytest.raises(StorageFailed, match="No such file or directory"):
            await archives(node, tmp_path / "gone").backup(ACME, runs="all")


async def test_a_clone_of_a_tenant_over_itself_is_refused_before_anything_is_made(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        with pytest.raises(TenantExists, match="'acme' is taken by the tenant that is to be clon"):
            await archives(node, tmp_path).clone(ACME, ACME, runs="none", report=unheard)

        assert await node.sql("SELECT to_regnamespace('tenant_acme')") is None
