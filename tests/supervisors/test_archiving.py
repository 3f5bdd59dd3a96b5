"""Tenants that are put away as files until somebody uses them again."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from orchestrator.daemon.inactivity import Inactivity
from orchestrator.daemon.parts import drop_dead_parts
from orchestrator.model.api import CreateTenant
from orchestrator.model.errors import (
    InvalidRequest,
    StorageFailed,
    TenantArchived,
    TenantExists,
    TenantNotFound,
    TenantStarting,
)
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import Progress, unheard
from orchestrator.settings.archive import ArchiveSection
from orchestrator.settings.duration import Duration
from orchestrator.store.control import audit, tenants
from supervisors.slot import SlotState
from tests.supervisors.nodes import running_node, snapshot
from tests.supervisors.test_lifecycle import archives, lifecycle, used
from tests.supervisors.test_why import platform_of
from tests.support.database import Database

ACME, GLOBEX, AGAIN = TenantId("acme"), TenantId("globex"), TenantId("again")


async def test_an_archived_tenant_is_a_file_until_it_is_brought_back(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"], aliases=["Acme-Corp"])) as node:
        verbs = archives(node, tmp_path)
        await node.submit("acme")
        await node.until_finished("acme", 1)

        away = await lifecycle(node, tmp_path).archive(ACME)

        assert Path(away.file).parent == tmp_path / "archives"
        assert await node.sql("SELECT to_regnamespace('tenant_acme')") is None
        await node.declare(
            "acme", name="Changed", aliases=["Acme-Corp"]
        )  # a reload does not make it anew
        for name in ("acme", "acme-corp"):
            with pytest.raises(TenantArchived, match="'acme' is archived"):
                platform_of(node).resolve(name)
        with pytest.raises(Exception, match="tenant 'acme' is archived"):
            await node.sql("SELECT insula.submit('acme', 'note')")
        assert [each.state for each in platform_of(node).tenants()] == ["archived"]

        back = await verbs.unarchive(ACME, unheard)

        assert (back.tenant, back.rows) == ("acme", away.rows)
        assert os.listdir(tmp_path / "archives") == []  # noqa: PTH208 - not blocking for long
        await node.submit("acme")
        await node.until_finished("acme", 2)


async def test_nothing_takes_the_place_of_an_archived_tenant(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await used(node)
        verbs, whole = archives(node, tmp_path), lifecycle(node, tmp_path)
        await node.submit("acme")
        await node.until_finished("acme", 1)
        with await verbs.backup(ACME, runs="all") as older:
            path = Path((await whole.archive(ACME)).file)
            with pytest.raises(TenantExists, match="'acme' is archived"):
                await verbs.restore(ACME, older, of=None, runs=None, foreign=False, report=unheard)
        with pytest.raises(TenantExists, match="'acme' is archived"):
            await verbs.clone(GLOBEX, ACME, runs="none", report=unheard)
        assert await anyio.Path(path).exists()
        assert (await verbs.unarchive(ACME, unheard)).tenant == ACME


async def test_an_archive_that_was_left_when_its_tenant_came_back_goes_at_the_next_start(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        verbs = archives(node, tmp_path)
        await node.submit("acme")
        await node.until_finished("acme", 1)
        path = Path((await lifecycle(node, tmp_path).archive(ACME)).file)
        await anyio.Path(f"{path}.returning").touch()  # an attempt that died
        await verbs.resume()
        assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 - not blocking for long

        def put_aside(told: Progress) -> None:
            if told.phase == "registry":
                path.rename(tmp_path / "aside")
                path.mkdir()

        await verbs.unarchive(ACME, put_aside)
        await anyio.Path(path).rmdir()
        await anyio.Path(tmp_path / "aside").rename(path)
        await verbs.resume()

        assert os.listdir(path.parent) == []  # noqa: PTH208 - not blocking for long


async def test_an_archive_that_is_kept_of_a_deleted_tenant_stays_though_it_once_was_to_come_back(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([])) as node:
        await used(node)
        verbs, whole = archives(node, tmp_path), lifecycle(node, tmp_path)
        path = Path((await whole.archive(GLOBEX)).file)

        async def come_back_in_vain() -> None:
            def fail(told: Progress) -> None:
                if told.phase == "registry":
                    raise StorageFailed("nobody reads any more")

            with pytest.raises(StorageFailed):
                await verbs.unarchive(GLOBEX, fail)

        await come_back_in_vain()
        await whole.delete("globex", keep=True)
        assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 - not blocking for long

        # Another node deleted it: the mark was not in its reach.
        await anyio.Path(f"{path}.returning").touch()
        await verbs.resume()

        assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 - not blocking for long


async def test_who_was_archived_while_another_archiving_waited_stays_archived(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.submit(ACME)
        await node.until_finished(ACME, 1)
        away = await lifecycle(node, tmp_path).archive(ACME)

        async with node.control.acquire() as connection:
            with pytest.raises(TenantArchived):  # the other one has waited, and begins now
                await tenants.mark_deleting(connection, ACME, "archive")

        assert (await archives(node, tmp_path).unarchive(ACME, unheard)).rows == away.rows


async def test_what_a_node_began_to_write_when_it_died_goes_also_when_another_has_finished_it(
    database: Database, tmp_path: Path
) -> None:
    mine, others = tmp_path / "mine", tmp_path / "others"
    part, under_way = (mine / "archives" / f"{name}-1.tar.part" for name in ("acme", "globex"))
    part.parent.mkdir(parents=True)
    async with running_node(database, snapshot(["acme", "globex"])) as node:
        for tenant in (ACME, GLOBEX):
            await node.submit(tenant)
            await node.until_finished(tenant, 1)
        away = await lifecycle(node, others).archive(ACME)
        part.touch()
        under_way.touch()
        async with node.control.acquire() as connection:
            await tenants.mark_deleting(connection, GLOBEX, "archive")

        await drop_dead_parts(mine, node.control)
        left = os.listdir(part.parent)  # noqa: PTH208 - not blocking for long
        await lifecycle(node, mine).resume()

    assert left == [under_way.name]
    assert not list(tmp_path.rglob("*.part"))  # noqa: ASYNC240 - not blocking for long
    assert Path(away.file).is_file()  # noqa: ASYNC240 - as above


async def test_an_archiving_that_a_node_has_begun_is_finished_by_the_next(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.submit("acme")
        await node.until_finished("acme", 1)
        async with node.control.acquire() as connection:
            await tenants.mark_deleting(connection, ACME, "archive")

    async with running_node(database, snapshot(["acme"]), name="b") as node:
        await lifecycle(node, tmp_path).resume()

        (entry,) = await audit.page(await database.connect(), ACME, limit=1)
        assert (entry.operation, entry.subject, entry.outcome) == (
            "tenant.archive",
            "resumed",
            "done",
        )
        back = await archives(node, tmp_path).unarchive(ACME, unheard)
        assert back.rows > 0


async def test_with_an_archived_tenant_its_file_is_purged_unless_it_is_kept(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([])) as node:
        whole = lifecycle(node, tmp_path)
        for tenant in (ACME, GLOBEX):
            await node.tenants.register(CreateTenant(id=tenant))
            await node.submit(tenant)
            await node.until_finished(tenant, 1)
        kept, purged = [Path((await whole.archive(each)).file) for each in (ACME, GLOBEX)]
        (tmp_path / "aside").mkdir()
        inside = purged.rename(tmp_path / "aside" / "content")
        purged.mkdir()
        with pytest.raises(StorageFailed, match="can not be deleted"):
            await whole.delete(GLOBEX, keep=False)
        assert [each.state for each in platform_of(node).tenants()] == ["archived"] * 2
        purged.rmdir()
        inside.rename(purged)

        deleted = [
            await whole.delete(tenant, keep=tenant == ACME, force=True) for tenant in (ACME, GLOBEX)
        ]

        assert [each.results for each in deleted] == [str(kept), None]
        assert [kept.exists(), purged.exists()] == [True, False]


async def test_what_can_not_be_archived_stays_as_it_is(database: Database, tmp_path: Path) -> None:
    (tmp_path / "archives").write_text("in the way", encoding="utf-8")
    async with running_node(database, snapshot(["acme"])) as node:
        whole = lifecycle(node, tmp_path)
        with pytest.raises(InvalidRequest, match="never used"):
            await whole.archive(ACME)
        await node.submit("acme")
        await node.until_finished("acme", 1)

        with pytest.raises(StorageFailed):
            await whole.archive(ACME)

        await node.submit("acme")
        await node.until_finished("acme", 2)


@pytest.mark.requirement("T7.archived")
async def test_who_is_not_used_for_long_is_archived_and_comes_back_when_used(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(
        database, snapshot(["acme", "globex", "waits"], idle_ttl=Duration(0))
    ) as node:
        settings = ArchiveSection(after=Duration(days=90))
        policy = Inactivity(
            node.control,
            lifecycle(node, tmp_path),
            archives(node, tmp_path),
            node.audit,
            lambda: settings,
        )
        await node.submit("acme")
        await node.submit("globex")
        await node.submit("waits")
        for tenant in ("acme", "globex", "waits"):
            await node.reach(tenant, SlotState.DORMANT)
        await node.sql("UPDATE insula.tenant SET last_active_at = now() - interval '80 days'")
        await node.sql(
            "UPDATE insula.tenant SET last_active_at = now() - interval '91 days'"
            " WHERE id IN ('acme', 'waits')"
        )

        await node.sql("INSERT INTO insula.wake VALUES ('waits', now() + interval '1 day', 'x')")

        await policy.sweep()

        states = {each.id: each.state for each in platform_of(node).tenants()}
        assert states == {"acme": "archived", "globex": "dormant", "waits": "dormant"}
        policy.use(ACME)  # not configured: whoever asks is told how to bring it back
        settings = ArchiveSection(restore_on_use=True)
        with pytest.raises(TenantStarting, match="is being brought back"):
            policy.use(ACME)
        await policy.bring_back()
        await node.submit("acme")
        await node.until_finished("acme", 2)
        operations = await node.sql(
            "SELECT array_agg(operation ORDER BY number) FROM insula.audit WHERE outcome IS NULL"
        )
        assert operations[3:] == ["tenant.archive", "tenant.unarchive"]


async def test_an_archiving_that_an_outage_has_stopped_goes_on_when_it_is_asked_for_again(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        whole = lifecycle(node, tmp_path)
        await node.submit("acme")
        await node.until_finished("acme", 1)
        async with node.control.acquire() as connection:
            marked = await tenants.mark_deleting(connection, ACME, "archive")

        assert marked.again == "insula tenant archive acme"
        assert (await whole.archive(ACME)).rows > 0

        with pytest.raises(TenantArchived):
            await whole.archive(ACME)


async def test_who_is_not_archived_or_not_there_is_not_brought_back(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        verbs = archives(node, tmp_path)
        await node.tenants.register(CreateTenant(id="globex"))
        await lifecycle(node, tmp_path).delete("globex", keep=False)

        with pytest.raises(TenantExists, match="is not archived"):
            await verbs.unarchive(ACME, unheard)
        with pytest.raises(TenantNotFound):
            await verbs.unarchive(GLOBEX, unheard)
        with pytest.raises(TenantNotFound):
            await lifecycle(node, tmp_path).archive(GLOBEX)
