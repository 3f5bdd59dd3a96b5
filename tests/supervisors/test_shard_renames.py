"""Renaming a tenant on a shard: the registry goes first, and the shard follows whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from orchestrator.model.api import CreateTenant, RenameTenant
from orchestrator.model.errors import SchemaConflict, TenantExists
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import unheard
from orchestrator.settings.shards import ShardConfig
from orchestrator.store.connect import Target
from tests.store.submitting import submit
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_lifecycle import archives, lifecycle
from tests.supervisors.test_shard_copies import dying
from tests.supervisors.test_shards import LEFT, SCHEMAS, admin_of, home, succeeded
from tests.support.database import Database

__all__ = ["home"]

ACME, GLOBEX = TenantId("acme"), TenantId("globex")


@asynccontextmanager
async def used(database: Database, shard: ShardConfig) -> AsyncIterator[Node]:
    """Run a node with tenant acme, registered on the shard, which has done one run."""
    async with running_node(database, snapshot([], shards=[shard]), shards=[shard]) as node:
        await node.tenants.register(CreateTenant(id="acme", set={"shard": "eu"}))
        await node.submit("acme")
        await done(database, shard, "acme", 1)
        yield node


async def done(database: Database, shard: ShardConfig, tenant: str, runs: int) -> None:
    """Return when so many runs have succeeded; who stays connected keeps a database its name."""
    there = await admin_of(database, shard, tenant)
    await succeeded(there, runs, tenant)
    await there.close()


async def rename(node: Node, *, alias: bool = True) -> TenantId:
    """Make acme globex."""
    wanted = RenameTenant(to="globex", alias=alias, force=True)
    return await lifecycle(node, Path()).rename(ACME, wanted, by="uid 0")


@pytest.mark.parametrize("home", ["database"], indirect=True)
async def test_everything_of_a_renamed_tenant_has_its_new_id_on_its_shard(
    database: Database, home: ShardConfig
) -> None:
    async with used(database, home) as node:
        assert await rename(node) == GLOBEX
        await node.submit("globex")

        there = await admin_of(database, home, "globex")
        await succeeded(there, 2, "globex")
        assert node.root.resolve("acme") == GLOBEX
        assert await there.fetchval(SCHEMAS) == ["tenant_globex"]
        left = await node.sql(LEFT, f"{database.role_prefix}_")
        assert {name.rpartition("_")[2] for name in left} == {"globex"}
        assert await node.sql("SELECT held_for FROM insula.tenant WHERE id = 'globex'") is None
        with pytest.raises(asyncpg.PostgresError, match="was renamed"):
            await submit(there, "acme", "note")


@pytest.mark.parametrize("home", ["database"], indirect=True)
async def test_a_name_that_the_server_has_already_keeps_everything_as_it_was(
    database: Database, home: ShardConfig
) -> None:
    async with used(database, home) as node:
        server = await database.connect(Target.parse(home.url))
        await server.execute(f'CREATE DATABASE "{database.role_prefix}_t_globex"')

        with pytest.raises(SchemaConflict, match=r"the database .*_t_globex exists already"):
            await rename(node)

        await node.submit("acme")
        await succeeded(await admin_of(database, home), 2)


async def test_nobody_is_called_so_before_the_shard_has_followed(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with used(database, shard) as node:
        whole, copies = lifecycle(node, tmp_path), archives(node, tmp_path)
        await rename(node, alias=False)
        await node.tenants.register(CreateTenant(id="initech"))
        await node.submit("initech")
        await node.until_finished("initech", 1)
        await node.sql("UPDATE insula.tenant SET renaming = 'acme' WHERE id = 'globex'")

        with pytest.raises(TenantExists, match="'acme' is being renamed"):
            await node.tenants.register(CreateTenant(id="acme"))
        initech = TenantId("initech")
        with pytest.raises(TenantExists, match="'acme' is being renamed"):
            await whole.rename(initech, RenameTenant(to="acme", force=True), by="ann")
        with pytest.raises(TenantExists, match="'acme' is being renamed"):
            await copies.clone(initech, ACME, runs="none", to="control", report=unheard)
        await node.declare("acme", shards=[shard])
        assert "acme" not in node.root.slots

        await node.sql("UPDATE insula.tenant SET renaming = NULL")
        await node.declare("acme", shards=[shard])
        assert "acme" in node.root.slots


@pytest.mark.slow
@pytest.mark.parametrize(
    ("home", "which", "step"),
    [("database", "registry", 4), ("role", "shard", 7)],
    indirect=["home"],
)
async def test_whatever_statement_a_renaming_dies_at_the_tenant_has_one_name_everywhere(
    database: Database, home: ShardConfig, which: str, step: int
) -> None:
    async with used(database, home) as node:
        place = node.control if which == "registry" else node.tenants.shards.others["eu"]
        for tries in count(1):
            async with dying(place, at=2 + step * tries):
                await rename(node)
            await node.holds.sweep()
            await node.tenants.refresh()
            if await node.sql("SELECT state FROM insula.tenant WHERE id = 'globex'"):
                break
            await node.submit("acme")
            await done(database, home, "acme", 1 + tries)
        await node.submit("globex")
        await done(database, home, "globex", 1 + tries)
        assert tries > 2
