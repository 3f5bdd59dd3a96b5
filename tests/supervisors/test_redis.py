"""A node whose tenants' caches are on a server of Redis."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cache.redis import RedisServer
from orchestrator.model.api import CreateTenant
from orchestrator.model.errors import CacheUnavailable
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from orchestrator.workflow.registry import Registry
from tests.supervisors.nodes import running_node, snapshot
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


async def test_a_run_goes_on_when_its_task_does_without_the_cache(database: Database) -> None:
    registry = Registry.of([does_without])
    async with (
        RedisServer(f"redis://127.0.0.1:{free_port()}", "test") as caches,
        running_node(database, snapshot(["acme"]), registry=registry, caches=caches) as node,
    ):
        await node.submit("acme", "w")
        await node.until_finished("acme", 1)

        assert await outputs(node, "acme") == ['"cache_unavailable"']
