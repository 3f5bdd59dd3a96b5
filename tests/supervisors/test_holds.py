"""Tenants that a verb keeps quiet, and what becomes of a hold whose node is gone."""

from __future__ import annotations

from uuid import uuid4

import anyio
import asyncpg
import pytest

from orchestrator.model.errors import TenantHeld, TenantNotFound
from orchestrator.model.ids import TenantId
from orchestrator.store.control import audit, holds, leases, tenants
from supervisors.slot import SlotState
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_why import platform_of
from tests.supervisors.workflows import GATES
from tests.support.database import Database
from tests.support.wait import until

ACME = TenantId("acme")


async def held_by_the_dead(node: Node) -> None:
    """Hold acme as an incarnation that is not there any more."""
    async with node.control.acquire() as connection:
        await holds.take(connection, ACME, "rename", uuid4())
    await node.tenants.refresh()


async def refused_to_hold(node: Node) -> None:
    """Try to hold acme, which is held."""
    with pytest.raises(TenantHeld):
        async with node.holds.of(ACME, "backup"):
            pass


async def test_a_held_tenant_comes_to_rest_and_goes_on_afterwards(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.hold("acme", "held")
        GATES.open("held")

        async with node.holds.of(ACME, "rename"):
            assert await node.connections("acme") == 0
            assert node.slot("acme").state is SlotState.SUSPENDED
            with pytest.raises(TenantHeld, match="'acme' is held for rename") as refused:
                await node.submit("acme")
        await node.submit("acme")

        assert refused.value.retry_after == 5.0
        await node.until_finished("acme", 2)


async def test_sql_starts_nothing_of_a_held_tenant(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.submit("acme")
        async with node.holds.of(ACME, "rename"):
            with pytest.raises(asyncpg.PostgresError, match="'acme' is held for rename") as refused:
                await node.sql("SELECT insula.submit('acme', 'note')")

        assert refused.value.sqlstate == "IN425"


async def test_a_tenant_is_held_for_one_verb_at_a_time(database: Database) -> None:
    async with (
        running_node(database, snapshot(["acme"])) as one,
        running_node(database, snapshot(["acme"]), name="b") as other,
    ):
        async with one.holds.of(ACME, "rename"):
            for node in (one, other):
                await refused_to_hold(node)
            with pytest.raises(TenantHeld):
                await other.tenants.rotate(ACME)
            async with one.control.acquire() as connection:
                with pytest.raises(TenantHeld):
                    await tenants.mark_deleting(connection, ACME, "purge")

        async with other.holds.of(ACME, "backup") as hold:
            assert hold.verb == "backup"


async def test_a_tenant_that_is_being_deleted_is_not_held(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        async with node.control.acquire() as connection:
            await tenants.mark_deleting(connection, ACME, "purge")

        with pytest.raises(TenantNotFound, match="is being deleted"):
            async with node.holds.of(ACME, "rename"):
                pass


async def test_a_node_that_has_not_heard_of_a_hold_does_not_take_the_tenant(
    database: Database,
) -> None:
    async with (
        running_node(database, snapshot(["acme"])) as one,
        running_node(database, snapshot(["acme"]), name="b") as other,
    ):
        async with one.holds.of(ACME, "rename"), other.control.acquire() as connection:
            with pytest.raises(TenantHeld):
                await leases.claim(connection, ACME, other.id)
            with pytest.raises(TenantHeld):
                await other.submit("acme")

        await other.tenants.refresh()
        await other.submit("acme")
        await one.until_finished("acme", 1)


async def test_whoever_holds_a_tenant_waits_for_the_node_that_claims_it_at_this_moment(
    database: Database,
) -> None:
    claimer, held = await database.connect(), anyio.Event()
    async with (
        running_node(database, snapshot(["acme"])) as node,
        anyio.create_task_group() as group,
    ):

        async def hold() -> None:
            async with node.holds.of(ACME, "rename"):
                held.set()

        async with claimer.transaction():
            lease = await leases.claim(claimer, ACME, node.id)
            group.start_soon(hold)
            await until(lambda: waiting(node), what="the hold waits for the claim")
        await node.reach("acme", SlotState.SUSPENDED)

        assert not held.is_set()
        await leases.release(claimer, ACME, node.id, lease.epoch, wake_at=None)
        with anyio.fail_after(10):
            await held.wait()


async def waiting(node: Node) -> bool:
    """Return whether a statement waits for a lock in the test's database."""
    found: bool = await node.sql(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock')"
    )
    return found


async def test_what_a_dead_node_held_is_released_and_its_runs_go_on(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.hold("acme", "left")
        GATES.open("left")
        await held_by_the_dead(node)
        await node.reach("acme", SlotState.SUSPENDED)

        await node.holds.sweep()

        await node.submit("acme")
        await node.until_finished("acme", 2)
        entry, _ = await audit.page(await database.connect(), ACME, limit=9)
        assert (entry.operation, entry.subject) == ("tenant.release", "held for rename")
        assert (entry.actor, entry.outcome) == ("insula", "done")


async def test_what_is_held_here_or_by_a_living_node_is_not_released(database: Database) -> None:
    connection = await database.connect()
    async with (
        running_node(database, snapshot(["acme"])) as one,
        running_node(database, snapshot(["acme"]), name="b") as other,
        one.holds.of(ACME, "rename") as hold,
    ):
        await one.holds.sweep()
        await other.holds.sweep()

        async with connection.transaction():
            await holds.keep(connection, hold)


async def test_a_hold_that_was_released_by_others_is_not_in_force(database: Database) -> None:
    connection = await database.connect()
    async with (
        running_node(database, snapshot(["acme"])) as node,
        node.holds.of(ACME, "rename") as hold,
    ):
        await holds.release(connection, hold)

        with pytest.raises(TenantHeld, match="was released before its rename had ended"):
            await holds.keep(connection, hold)


async def test_a_held_tenant_is_listed_shown_and_explained_as_such(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        platform = platform_of(node)
        async with node.holds.of(ACME, "rename"):
            (listed,), shown = platform.tenants(), await platform.read_tenant(ACME)
            found = await platform.why(ACME)

        assert {each.state for each in (listed, shown, found)} == {"held"}
        assert (listed.held_for, shown.held_for, shown.enabled) == ("rename", "rename", True)
        assert found.because.startswith("it is held for rename since 20")
        assert found.because.endswith("and goes on by itself after that")
        assert found.transitions[0].reason == "held for rename"
