"""A node whose tenants' caches are on a server of Redis."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from orchestrator.cache.redis import RedisServer
from orchestrator.daemon.cache_remains import CacheRemains
from orchestrator.model.api import CreateTenant, RenameTenant
from orchestrator.model.errors import CacheUnavailable
from orchestrator.model.ids import TenantId
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from orchestrator.workflow.registry import Registry
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_contexts import outputs
from tests.supervisors.test_lifecycle import lifecycle
from tests.support.database import Database
from tests.support.redis import free_port, running


@job("w")
async def counts(ctx: Context) -> int:
    """Count the tenant's runs."""
    return await ctx.cache.increment("runs")


@job("w")
async def does_without(ctx: Context) -> str:
    """Go on when the cache is away."""
    try:
        await ctx.cache.set("key", 1)
    except CacheUnavailable as error:
        return error.code
    return "kept"


async def test_a_tenant_counts_alone_and_one_made_anew_begins_again(
    database: Database, tmp_path: Path
) -> None:
    registry = Registry.of([counts])
    with running(tmp_path) as url:
        async with (
            RedisServer(url, "test") as caches,
            running_node(database, snapshot(["acme"]), registry=registry, caches=caches) as node,
        ):
            await node.tenants.register(CreateTenant(id="globex"))
            for tenant, runs in (("acme", 1), ("globex", 1), ("acme", 2)):
                await node.submit(tenant, "w")
                await node.until_finished(tenant, runs)
            assert await outputs(node, "acme") == ["1", "2"]
            assert await node.sql("SELECT count(*) FROM tenant_acme.wf_cache") == 0

            await lifecycle(node, tmp_path).delete("globex", keep=False)
            await node.tenants.register(CreateTenant(id="globex"))
            await node.submit("globex", "w")
            await node.until_finished("globex", 1)

            assert await outputs(node, "globex") == ["1"]


@asynccontextmanager
async def counted(database: Database, url: str) -> AsyncIterator[tuple[Node, CacheRemains]]:
    """Yield a node whose tenant globex, made at run time, has counted, and what empties caches."""
    async with (
        RedisServer(url, "test") as caches,
        running_node(
            database, snapshot(["acme"]), registry=Registry.of([counts]), caches=caches
        ) as node,
    ):
        await node.tenants.register(CreateTenant(id="globex"))
        for tenant in ("acme", "globex"):
            await node.submit(tenant, "w")
            await node.until_finished(tenant, 1)
        yield node, CacheRemains(node.control, caches, node.audit)


async def tenants_with_values(url: str) -> set[str]:
    """Return the tenants of whom the server has anything."""
    async with Redis.from_url(url, decode_responses=True) as admin:
        return {re.findall("globex|acme", str(key))[0] for key in await admin.keys()}


async def purges(node: Node) -> list[str]:
    """Return what the audit of globex says of its cache."""
    page = await node.audit.read(TenantId("globex"), limit=20, cursor=None)
    return [each.subject for each in page.entries if each.operation == "cache.purge"]


@pytest.mark.parametrize("verb", ["deleted", "renamed"])
async def test_the_values_of_a_tenant_that_is_gone_are_deleted(
    database: Database, tmp_path: Path, verb: str
) -> None:
    with running(tmp_path) as url:
        async with counted(database, url) as (node, remains):
            await remains.sweep()
            assert await tenants_with_values(url) == {"acme", "globex"}
            verbs = lifecycle(node, tmp_path)
            if verb == "deleted":
                await verbs.delete("globex", keep=False)
            else:
                await verbs.rename(TenantId("globex"), RenameTenant(to="initech"), by="ann")

            await remains.sweep()
            await remains.sweep()

            assert await tenants_with_values(url) == {"acme"}
            assert await purges(node) == ["1 values"]


async def test_one_made_anew_finds_its_own_values_and_the_old_ones_are_deleted(
    database: Database, tmp_path: Path
) -> None:
    with running(tmp_path) as url:
        async with counted(database, url) as (node, remains):
            await lifecycle(node, tmp_path).delete("globex", keep=False)
            await node.tenants.register(CreateTenant(id="globex"))
            for runs in (1, 2):
                await node.submit("globex", "w")
                await node.until_finished("globex", runs)
                await remains.sweep()

            assert await outputs(node, "globex") == ["1", "2"]
            assert await purges(node) == ["1 values"]


async def test_a_server_that_is_away_keeps_nobody_from_deleting_and_is_asked_again(
    database: Database, tmp_path: Path
) -> None:
    with running(tmp_path) as url:
        async with counted(database, url) as (node, remains):
            away = RedisServer(f"redis://127.0.0.1:{free_port()}", "test")
            await lifecycle(node, tmp_path).delete("globex", keep=False)
            with pytest.raises(CacheUnavailable):
                await replace(remains, stores=away).sweep()
            assert await purges(node) == []
            assert "globex" in await tenants_with_values(url)

            await remains.sweep()

            assert await tenants_with_values(url) == {"acme"}


async def test_a_run_goes_on_when_its_task_does_without_the_cache(database: Database) -> None:
    registry = Registry.of([does_without])
    async with (
        RedisServer(f"redis://127.0.0.1:{free_port()}", "test") as caches,
        running_node(database, snapshot(["acme"]), registry=registry, caches=caches) as node,
    ):
        await node.submit("acme", "w")
        await node.until_finished("acme", 1)

        assert await outputs(node, "acme") == ['"cache_unavailable"']
