"""What a task of a tenant that is awake has besides its runs: secrets and a cache, of its own."""

from __future__ import annotations

from typing import Any

from orchestrator.daemon.secrets import TenantSecrets
from orchestrator.model.ids import TenantId
from orchestrator.settings.duration import Duration
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from orchestrator.workflow.registry import Registry
from supervisors.slot import SlotState
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.support.database import Database
from tests.support.dump import dump

PLAIN = "hush-51d0"


@job("w")
async def works(ctx: Context) -> list[Any]:
    """Use both."""
    key = (await ctx.secret("api_key")).reveal()
    return [key[5:7], await ctx.cache.increment("runs")]


async def outputs(node: Node, tenant: str) -> list[str]:
    """Return what the tenant's runs gave, by age."""
    query = f"SELECT array_agg(output::text ORDER BY id) FROM tenant_{tenant}.wf_run"
    found: list[str] = await node.sql(query)
    return found


async def test_each_tenant_has_secrets_and_a_cache_of_its_own(database: Database) -> None:
    declared = snapshot(["acme", "globex"], idle_ttl=Duration(milliseconds=20))
    async with running_node(database, declared, registry=Registry.of([works])) as node:
        secrets = TenantSecrets(node.ground.shards, node.tenants)
        await secrets.put(TenantId("acme"), "api_key", f"{PLAIN[:5]}AA")
        await secrets.put(TenantId("globex"), "api_key", f"{PLAIN[:5]}GG")
        for tenant in ("acme", "globex"):
            await node.submit(tenant, "w")
            await node.until_finished(tenant, 1)
        await node.reach("acme", SlotState.DORMANT)
        assert await node.connections("acme") == 0
        await secrets.put(TenantId("acme"), "api_key", PLAIN)
        await node.submit("acme", "w")
        await node.until_finished("acme", 2)

        assert await outputs(node, "acme") == ['["AA",1]', '["51",2]']
        assert await outputs(node, "globex") == ['["GG",1]']
        assert [each.name for each in await secrets.listed(TenantId("acme"))] == ["api_key"]
        assert PLAIN not in await dump(await database.connect())
