"""A move whose connections die at any statement: the tenant is whole, where its row says it is."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
from msgspec import structs

from orchestrator.model.errors import InsulaError
from orchestrator.model.ids import TenantId
from orchestrator.model.moves import MoveTenant
from orchestrator.settings.shards import ShardConfig
from orchestrator.store.connect import DRIVER_ERRORS, Target
from tests.supervisors.nodes import running_node, snapshot
from tests.supervisors.test_moves import SCHEMAS, moves
from tests.supervisors.test_shards import admin_of
from tests.support.database import Database
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

ACME = TenantId("acme")


@pytest.mark.slow
async def test_a_target_that_dies_at_any_statement_costs_nothing(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"])) as first:
        await first.submit("acme")
        await first.until_finished("acme", 1)
    there = await admin_of(database, shard)
    broken = 0
    for cut in count(2, step=9):
        proxy = CuttingProxy(Target.parse(shard.url), cut_at=cut, for_good=True)
        async with proxy.running():
            behind = structs.replace(shard, url=proxy.target.url)
            declared = snapshot(["acme"], shards=[behind])
            async with running_node(database, declared, shards=[behind]) as node:
                try:
                    await moves(node, tmp_path).run(ACME, MoveTenant(to="eu"))
                    break
                except (InsulaError, *DRIVER_ERRORS):
                    broken += 1
                moved = await node.sql("SELECT shard = 'eu' FROM insula.tenant")
        if moved:
            break

    async with running_node(database, snapshot(["acme"], shards=[shard]), shards=[shard]) as node:
        moved = await moves(node, tmp_path).run(ACME, MoveTenant(to="eu"))
        assert moved.shard == "eu"
        await node.submit("acme")
        await until(
            lambda: there.fetchval("SELECT count(*) = 2 FROM tenant_acme.wf_run"),
            what="both runs are there",
        )
        assert await node.sql(SCHEMAS) == ["moved_acme"]
    assert broken > 2


@pytest.mark.slow
async def test_a_node_that_dies_at_any_statement_of_the_source_leaves_one_tenant(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"])) as first:
        await first.submit("acme")
        await first.until_finished("acme", 1)
    admin, there = await database.connect(), await admin_of(database, shard)
    seen: set[str] = set()
    for cut in count(25, step=17):
        proxy = CuttingProxy(database.target, cut_at=cut, for_good=True)
        declared = snapshot(["acme"], shards=[shard])
        async with running_node(database, declared, shards=[shard]) as node, proxy.running():
            control = node.tenants.shards.control
            verb = moves(node, tmp_path)
            control.target, usual = proxy.target, control.target
            try:
                await verb.run(ACME, MoveTenant(to="eu"))
            except (InsulaError, *DRIVER_ERRORS):
                pass
            finally:
                control.target = usual
            done = not proxy.has_cut
            home = await admin.fetchval("SELECT shard FROM insula.tenant")
            await verb.run(ACME, MoveTenant(to=home))
            seen.add(home)
        names = [await admin.fetchval(SCHEMAS), await there.fetchval(SCHEMAS)]
        here = names[0] if home == "control" else names[1]
        assert "tenant_acme" in here
        if home == "eu" or done:
            break

    assert await there.fetchval("SELECT count(*) FROM tenant_acme.wf_run") == 1
    assert seen == {"control", "eu"}
