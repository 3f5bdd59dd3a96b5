"""Nodes that were cut off from the database, or frozen: none serves what may be another's."""

from __future__ import annotations

import secrets
from uuid import uuid4

import anyio
import pytest

from orchestrator.model.errors import DatabaseUnavailable
from orchestrator.model.ids import TenantId
from orchestrator.store.control import leases, nodes, wake
from supervisors.slot import SlotState
from supervisors.standing import Standing
from tests.supervisors.nodes import LONG, in_good_standing, running_node, snapshot
from tests.supervisors.workflows import EXECUTED, GATES
from tests.support.database import Database
from tests.support.due import due_tenants
from tests.support.wait import until

ACME = TenantId("acme")


class Hand:
    """Seconds that the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_a_node_that_could_not_renew_cuts_off_its_tasks_and_settles_nothing(
    database: Database,
) -> None:
    hand, held = Hand(), secrets.token_hex(4)
    standing = in_good_standing(hand)
    async with running_node(database, snapshot(["acme"]), standing=standing) as node:
        started = await node.hold("acme", held)
        hand.seconds += 2 * LONG.total_seconds()
        await node.reach("acme", SlotState.BACKOFF)
        GATES.open(held)
        key = f"acme:{started.id}:wait"
        assert key not in EXECUTED["acme"]
        assert await node.finished("acme") == 0
        assert node.slot("acme").incarnation == 1

        standing.renewed(standing.now())
        await node.until_finished("acme", 1)
        assert node.slot("acme").epoch == 2
        assert EXECUTED["acme"].count(key) == 1
        assert node.slot("acme").record.crashes == ()


async def test_who_comes_back_first_after_an_outage_does_not_rob_the_others(
    database: Database,
) -> None:
    hand = Hand()
    long = LONG.total_seconds()
    fresh = Standing(long, hand)
    fresh.renewed(fresh.now())
    fresh.answer(lambda: fresh.renewed(fresh.now()))
    declared = snapshot(["acme"])
    async with running_node(database, declared, name="a") as a:
        await a.submit("acme")
        await a.expire()
        async with running_node(database, declared, name="b", standing=fresh) as b:
            b.root.wake(ACME)
            await until(lambda: "silent" in (b.slot("acme").last_error or ""))
            assert b.slot("acme").epoch is None
            await nodes.renew(await database.connect(), a.id, LONG)
            await a.submit("acme")
            assert a.slot("acme").epoch == 1

            await a.expire()
            hand.seconds += long / 2
            fresh.renewed(fresh.now())
            hand.seconds += long / 2
            assert fresh.steady
            await b.reach("acme", SlotState.RUNNING)
            assert b.slot("acme").epoch == 2


async def test_the_tenants_of_a_node_that_is_dead_for_certain_are_taken_at_once(
    database: Database,
) -> None:
    admin = await database.connect()
    silent, buried, left, ours = (uuid4() for _ in range(4))
    for tenant, node in (("silent", silent), ("buried", buried), ("left", left)):
        await nodes.register(admin, node, tenant, LONG)
        await leases.claim(admin, TenantId(tenant), node)
    await nodes.register(admin, ours, "ours", LONG)
    await admin.execute("UPDATE insula.node SET expires_at = now() WHERE id = $1", silent)
    await nodes.bury(admin, uuid4(), "buried")
    await nodes.leave(admin, left)
    assert sorted(await leases.orphans(admin, ours, steady=False)) == ["buried", "left"]
    assert sorted(await leases.orphans(admin, ours, steady=True)) == ["buried", "left", "silent"]
    for tenant in ("buried", "left"):
        assert (await leases.claim(admin, TenantId(tenant), ours, steady=False)).epoch == 2
    await admin.execute("INSERT INTO insula.wake VALUES ('silent', now(), 'timer')")
    assert await due_tenants(admin, ours, steady=False) == []
    assert await due_tenants(admin, ours, steady=True) == ["silent"]
    with pytest.raises(DatabaseUnavailable, match="node 'silent', which is silent"):
        await leases.claim(admin, TenantId("silent"), ours, steady=False)
    assert (await leases.claim(admin, TenantId("silent"), ours, steady=True)).epoch == 2


async def test_a_lease_of_ours_that_nobody_here_holds_is_found(database: Database) -> None:
    async with running_node(database, snapshot(["acme", "globex"])) as node:
        await node.submit("globex")
        await node.tenants.prepare(ACME)
        # As after a claim whose answer was lost.
        async with node.control.acquire() as control:
            await leases.claim(control, ACME, node.id)
        assert set(node.root.served) == {"globex"}
        await node.reach("acme", SlotState.RUNNING)
        assert node.slot("acme").epoch == 2
        assert node.slot("globex").epoch == 1


async def test_a_wake_up_is_left_to_the_owner_when_the_tenant_is_not_ours_any_more(
    database: Database,
) -> None:
    admin = await database.connect()
    ours, theirs = uuid4(), uuid4()
    for node, name in ((ours, "a"), (theirs, "b")):
        await nodes.register(admin, node, name, LONG)
    await leases.claim(admin, ACME, theirs)
    await admin.execute("INSERT INTO insula.wake VALUES ('acme', now(), 'submitted')")
    await wake.consume(admin, ours, [ACME])
    assert await due_tenants(admin, theirs) == [ACME]
    await wake.consume(admin, theirs, [ACME])
    assert await due_tenants(admin, theirs) == []


async def test_a_fence_ahead_of_a_restored_lease_is_overtaken(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.submit("acme")
        await node.root.drain()
        await node.sql("UPDATE tenant_acme.wf_fence SET epoch = 40 RETURNING epoch")
    async with running_node(database, snapshot(["acme"]), name="b") as node:
        await node.submit("acme")
        assert node.slot("acme").epoch == 41
        assert node.slot("acme").incarnation == 1
        assert await node.sql("SELECT epoch FROM insula.lease WHERE tenant = 'acme'") == 41
        await node.until_finished("acme", 2)


async def test_a_fence_that_a_new_owner_raised_is_not_overtaken(database: Database) -> None:
    admin = await database.connect()
    old, new = uuid4(), uuid4()
    for node, name in ((old, "a"), (new, "b")):
        await nodes.register(admin, node, name, LONG)
    await database.provision("acme")
    epoch = (await leases.claim(admin, ACME, old)).epoch
    await admin.execute("UPDATE insula.node SET expires_at = now() WHERE id = $1", old)
    await leases.claim(admin, ACME, new)
    await admin.execute("UPDATE tenant_acme.wf_fence SET epoch = 2")
    assert await leases.overtake(admin, ACME, old, epoch, fence=2) is None
    assert await admin.fetchval("SELECT epoch FROM insula.lease") == 2


async def test_an_awake_tenant_does_not_try_either_while_the_database_is_known_to_be_away(
    database: Database,
) -> None:
    standing = in_good_standing()
    async with running_node(database, snapshot(["acme"]), standing=standing) as node:
        await node.submit("acme")
        await node.until_finished("acme", 1)
        standing.lost("connection refused")
        logins = database.logins("acme")
        await node.sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE usename = ANY($1::text[])",
            [logins.engine, logins.app],
        )

        async def none() -> bool:
            return await node.connections("acme") == 0

        await until(none)
        async with anyio.create_task_group() as group:
            group.start_soon(node.submit, "acme")
            for _ in range(20):
                await anyio.sleep(0.02)
                assert await node.connections("acme") == 0
            standing.renewed(standing.now())
        assert node.slot("acme").incarnation == 1
        await node.until_finished("acme", 2)
