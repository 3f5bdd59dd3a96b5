"""A node that drains: what runs may end, nothing begins, and each tenant has its own time."""

from __future__ import annotations

import secrets

import anyio
import pytest
from msgspec import structs

from orchestrator.model.errors import ShuttingDown
from orchestrator.settings.duration import Duration
from orchestrator.settings.model import Limits, SupervisionSection
from supervisors.slot import SlotState
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.workflows import GATES
from tests.support.database import Database

PATIENT = SupervisionSection(drain_timeout=Duration(seconds=60))


async def hold_a_task(node: Node, tenant: str) -> str:
    """Start a task that waits at a gate; return the gate's name."""
    held = secrets.token_hex(4)
    await node.hold(tenant, held)
    return held


async def leases(node: Node) -> set[str]:
    """Return the tenants that the node has."""
    found = await node.sql("SELECT array_agg(tenant) FROM insula.lease WHERE node IS NOT NULL")
    return set(found or ())


async def test_what_runs_may_end_but_nothing_that_waits_begins(database: Database) -> None:
    one_at_a_time = Limits(max_concurrent_tasks=1)
    declared = snapshot(["acme", "globex"], supervision=PATIENT, limits=one_at_a_time)
    async with running_node(database, declared) as node, anyio.create_task_group() as group:
        held = await hold_a_task(node, "acme")
        await node.submit("acme")
        group.start_soon(node.root.drain)
        await node.reach("acme", SlotState.DRAINING)
        for tenant in ("acme", "globex"):
            with pytest.raises(ShuttingDown):
                await node.submit(tenant)
        GATES.open(held)
        await node.reach("acme", SlotState.DORMANT)
        assert await node.finished("acme") == 1
        # The next owner finds the one that waits, at once.
        assert await node.sql("SELECT count(*) FROM insula.wake WHERE due_at <= now()") == 1
        assert await node.connections("acme") == 0
        assert node.slot("globex").incarnation == 0


async def test_a_tenant_that_can_not_let_go_does_not_hold_up_the_others(
    database: Database,
) -> None:
    declared = snapshot(["acme", "globex"], supervision=PATIENT)
    async with running_node(database, declared) as node:
        gates = [await hold_a_task(node, tenant) for tenant in ("acme", "globex")]
        told: list[tuple[int, int]] = []
        locked = await database.connect()
        async with locked.transaction(), anyio.create_task_group() as group:
            await locked.execute("SELECT FROM insula.lease WHERE tenant = 'acme' FOR UPDATE")
            group.start_soon(node.root.drain, lambda done, total: told.append((done, total)))
            for each in gates:
                GATES.open(each)
            await node.reach("globex", SlotState.DORMANT)
            assert await leases(node) == {"acme"}
            assert told == [(1, 2)]
            assert node.slot("acme").state is SlotState.DRAINING
            await locked.execute("ROLLBACK AND CHAIN")
        assert await leases(node) == set()
        assert told == [(1, 2), (2, 2)]


async def test_a_verb_that_outlasts_the_node_may_still_tell_it_what_became_of_its_tenant(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        config = node.slot("acme").config

    node.root.declare([structs.replace(config, enabled=False)], {})

    assert node.slot("acme").state is SlotState.SUSPENDED
