"""What one tenant changes costs a node as much among many tenants as among none."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from types import FrameType

from orchestrator.model.api import CreateTenant, UpdateTenant
from orchestrator.model.ids import TenantId
from orchestrator.store.control import holds
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.support.database import Database

OURS = Path(__file__).parents[2]
MANY = 300
REGISTERED = f"""
    INSERT INTO insula.tenant (id, source, declaration, schema_name)
    SELECT 't_' || n, 'api', '{{}}', 'tenant_t_' || n FROM generate_series(1, {MANY}) AS n
"""


async def calls(work: Awaitable[object]) -> Counter[str]:
    """Return how often `work` calls each function that deals with tenants' configurations."""
    found: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        path = Path(code.co_filename)
        # A coroutine is entered once more for each packet that it waits for.
        waits = code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR)
        if event == "call" and not waits and path.is_relative_to(OURS):
            part = path.relative_to(OURS)
            if part.parts[:2] in (("orchestrator", "daemon"), ("orchestrator", "settings")):
                found[f"{part}:{code.co_qualname}"] += 1

    sys.setprofile(note)
    try:
        await work
    finally:
        sys.setprofile(None)
    return found


async def among(node: Node, tenant: str) -> list[Counter[str]]:
    """Return the calls for a tenant that is registered, changed, and held by a verb."""
    tenants, change = node.tenants, UpdateTenant(aliases=[f"{tenant}-corp"])
    registering = await calls(tenants.register(CreateTenant(id=tenant)))
    updating = await calls(tenants.update(TenantId(tenant), change))
    async with node.control.acquire() as connection:
        await holds.take(connection, TenantId(tenant), "rename", node.id)
    return [registering, updating, await calls(tenants.refresh())]


async def test_to_change_a_tenant_costs_the_same_however_many_there_are(
    database: Database,
) -> None:
    async with running_node(database, snapshot([])) as node:
        await among(node, "first")  # what is read once in the life of a process
        alone = await among(node, "acme")
        async with node.control.acquire() as connection:
            await connection.execute(REGISTERED)
        await node.tenants.refresh()
        assert len(node.root.slots) == MANY + 2

        assert await among(node, "globex") == alone


async def test_what_this_node_can_not_use_keeps_no_other_change_from_it(
    database: Database,
) -> None:
    async with running_node(database, snapshot([])) as node:
        await node.tenants.register(CreateTenant(id="acme", aliases=["corp"]))
        async with node.control.acquire() as connection:
            await connection.execute(
                "UPDATE insula.tenant SET declaration = $1, changed_in = pg_current_xact_id()",
                '{"from_a_newer_version": true}',
            )

        await node.tenants.register(CreateTenant(id="globex"))

        assert node.root.resolve("corp") == "acme"
        assert node.root.resolve("globex") == "globex"
