"""Tenants that are made of an archive or of another tenant, on a shard: all of it, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO, TypeAlias

import pytest
from msgspec import structs

from orchestrator.daemon.archives import TenantArchives
from orchestrator.daemon.arrivals import Arrivals
from orchestrator.daemon.errands import Errands
from orchestrator.lifecycle import arrival
from orchestrator.model.api import CreateTenant
from orchestrator.model.archives import RestoredTenant
from orchestrator.model.errors import (
    DatabaseUnavailable,
    InsulaError,
    InvalidRequest,
    TenantExists,
)
from orchestrator.model.ids import TenantId
from orchestrator.model.moves import MoveTenant
from orchestrator.model.progress import Progress, Report, unheard
from orchestrator.settings.model import Tenant
from orchestrator.settings.shards import ShardConfig
from orchestrator.store.connect import DRIVER_ERRORS, ControlPool
from orchestrator.store.shards import Shard
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_lifecycle import archives, lifecycle
from tests.supervisors.test_moves import moves
from tests.supervisors.test_shards import LEFT, SCHEMAS, admin_of, home, succeeded
from tests.support.database import Database
from tests.support.proxy import CuttingProxy

__all__ = ["home"]

ACME, GLOBEX = TenantId("acme"), TenantId("globex")

Verb: TypeAlias = Callable[[TenantArchives, Report], Awaitable[RestoredTenant]]


@asynccontextmanager
async def used(database: Database, shard: ShardConfig) -> AsyncIterator[Node]:
    """Run a node with tenant acme on the shard, which has done one run."""
    declared = snapshot([], declarations={"acme": Tenant(shard="eu")}, shards=[shard])
    async with running_node(database, declared, shards=[shard]) as node:
        await node.submit("acme")
        await succeeded(await admin_of(database, shard), 1)
        yield node


async def clone(verbs: TenantArchives, report: Report, to: str | None = None) -> RestoredTenant:
    """Clone acme as globex, with its runs."""
    return await verbs.clone(ACME, GLOBEX, runs="finished", to=to, report=report)


async def restore(verbs: TenantArchives, report: Report, to: str | None = "eu") -> RestoredTenant:
    """Back acme up, and restore it as globex."""
    with await verbs.backup(ACME, runs="all") as spool:
        return await restored(verbs, spool, report, to)


async def restored(
    verbs: TenantArchives, spool: BinaryIO, report: Report = unheard, to: str | None = "eu"
) -> RestoredTenant:
    """Restore an archive of acme as globex."""
    return await verbs.restore(
        GLOBEX, spool, of="acme", runs=None, foreign=False, to=to, report=report
    )


def arrivals(node: Node) -> Arrivals:
    """Return what clears shards, as the daemon wires it."""
    return Arrivals(node.tenants, Errands(node.tenants.shards))


@pytest.mark.parametrize(
    ("home", "verb"), [("role", clone), ("database", restore)], indirect=["home"]
)
async def test_a_copy_is_made_on_the_shard_and_works_there(
    database: Database, home: ShardConfig, tmp_path: Path, verb: Verb
) -> None:
    async with used(database, home) as node:
        made = await verb(archives(node, tmp_path), unheard)
        await node.submit("globex")

        there = await admin_of(database, home, "globex")
        await succeeded(there, 2, "globex")
        assert made.shard == node.slot("globex").config.shard == "eu"
        assert await node.sql(SCHEMAS) is None
        assert await arrival.marked(there) == []


async def test_a_copy_may_leave_the_shard_of_the_other(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with used(database, shard) as node:
        made = await clone(archives(node, tmp_path), unheard, to="control")
        await node.submit("globex")

        await node.until_finished("globex", 2)
        assert made.shard == "control"


async def test_an_archived_tenant_may_come_back_on_another_shard(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with used(database, shard) as node:
        await lifecycle(node, tmp_path).archive(ACME)
        with pytest.raises(InvalidRequest, match="us"):
            await archives(node, tmp_path).unarchive(ACME, unheard, to="us")
        back = await archives(node, tmp_path).unarchive(ACME, unheard, to="control")
        await node.submit("acme")

        await node.until_finished("acme", 2)
        assert back.shard == node.slot("acme").config.shard == "control"
        assert (await node.tenants.shards.row(ACME)).shard == "control"


@pytest.mark.parametrize("source", ["file", "archive"])
async def test_who_is_restored_without_a_word_is_made_where_it_is_declared(
    database: Database, shard: ShardConfig, tmp_path: Path, source: str
) -> None:
    declared = {"globex": Tenant(shard="eu")} if source == "file" else {}
    start = snapshot([], declarations=declared, shards=[shard])
    async with running_node(database, start, shards=[shard]) as node:
        verbs, on_eu = archives(node, tmp_path), {"shard": "eu"}
        await node.tenants.register(
            CreateTenant(id="acme", set=on_eu if source == "archive" else {})
        )
        await node.submit("acme")

        made = await restore(verbs, unheard, to=None)

        assert made.shard == node.slot("globex").config.shard == "eu"


async def test_a_shard_that_is_not_there_is_named_before_anything_is_made(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    away = structs.replace(shard, name="us", url="postgresql://nobody@127.0.0.1:1/none")
    both = [shard, away]
    async with running_node(database, snapshot(["acme"], shards=both), shards=both) as node:
        verbs = archives(node, tmp_path)
        with pytest.raises(InvalidRequest, match="no shard 'uk' is configured"):
            await clone(verbs, unheard, to="uk")
        for verb in (clone, restore):
            with pytest.raises(DatabaseUnavailable, match="'us'"):
                await verb(verbs, unheard, to="us")

        assert await node.sql("SELECT array_agg(id) FROM insula.tenant") == ["acme"]
        assert await node.sql(SCHEMAS) == ["tenant_acme"]


@pytest.mark.parametrize("home", ["database"], indirect=True)
async def test_what_is_refused_at_the_end_leaves_nothing_on_the_shard(
    database: Database, home: ShardConfig, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([], shards=[home]), shards=[home]) as node:
        verbs = archives(node, tmp_path)
        await node.tenants.register(CreateTenant(id="globex", aliases=["glo"]))
        with await verbs.backup(GLOBEX, runs="all") as spool:
            await lifecycle(node, tmp_path).delete("globex", keep=False)
            await node.tenants.register(CreateTenant(id="initech", aliases=["glo"]))

            with pytest.raises(TenantExists, match="'glo' is taken by tenant 'initech'"):
                await verbs.restore(
                    GLOBEX, spool, of=None, runs=None, foreign=False, to="eu", report=unheard
                )

        assert await node.sql(LEFT, f"{database.role_prefix}_") is None


async def test_a_copy_that_the_registry_knows_is_settled_when_the_next_node_starts(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with used(database, shard) as node:
        await clone(archives(node, tmp_path), unheard)
        there = await admin_of(database, shard)
        await arrival.mark(there, GLOBEX)

        assert not await arrivals(node).clear_all()

        assert await arrival.marked(there) == []


@pytest.mark.parametrize("home", ["database"], indirect=True)
async def test_a_copy_that_the_registry_does_not_know_goes_when_the_next_node_starts(
    database: Database, home: ShardConfig, tmp_path: Path
) -> None:
    async with used(database, home) as node:
        await clone(archives(node, tmp_path), unheard)
        there = await admin_of(database, home, "globex")
        await arrival.mark(there, GLOBEX)
        await there.close()
        await node.sql("DELETE FROM insula.tenant WHERE id = 'globex'")

        assert not await arrivals(node).clear_all()

        left = await node.sql(LEFT, f"{database.role_prefix}_")
        assert [name for name in left if name.endswith("globex")] == []
        await succeeded(await admin_of(database, home), 1)


async def test_what_a_living_node_is_at_is_left_to_it(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"], shards=[shard]), shards=[shard]) as node:
        await node.submit("acme")
        looked: list[asyncio.Task[bool]] = []

        def look(progress: Progress) -> None:
            if progress.phase == "comparing" and not looked:
                looked.append(asyncio.create_task(arrivals(node).clear_all()))

        await node.until_finished("acme", 1)
        await moves(node, tmp_path).run(ACME, MoveTenant(to="eu"), report=look)

        assert await looked[0]
        assert not await arrivals(node).clear_all()
        await node.submit("acme")
        await succeeded(await admin_of(database, shard), 2)


@asynccontextmanager
async def dying(place: ControlPool | Shard, *, at: int) -> AsyncIterator[None]:
    """Let new connections to a place end at some statement, whatever comes of it."""
    usual = place.target
    async with CuttingProxy(usual, cut_at=at, when="after").running() as proxy:
        place.target = proxy.target
        with suppress(InsulaError, *DRIVER_ERRORS):
            yield
        place.target = usual


@pytest.mark.slow
@pytest.mark.parametrize(("which", "step"), [("registry", 1), ("shard", 9)])
async def test_whatever_statement_a_copy_dies_at_it_is_whole_or_not_there(
    database: Database, shard: ShardConfig, tmp_path: Path, which: str, step: int
) -> None:
    async with used(database, shard) as node:
        there, verbs = await admin_of(database, shard), archives(node, tmp_path)
        place = node.control if which == "registry" else node.tenants.shards.others["eu"]
        refused, states = 0, list[str]()
        with await verbs.backup(ACME, runs="all") as spool:
            for cut in count(2, step=step):
                async with dying(place, at=cut):
                    await restored(verbs, spool)
                await arrivals(node).clear_all()
                states = await node.sql("SELECT array_agg(state) FROM insula.tenant")
                assert len(states) == len(await there.fetchval(SCHEMAS))
                if len(states) == 2:
                    break
                refused += 1
        assert refused > 2
        assert await arrival.marked(there) == []
        await node.tenants.refresh()
        await node.submit("globex")
        await succeeded(there, 2, "globex")
