"""Schedules of tenants that sleep: they are woken in time, and what a reload changes applies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from orchestrator.engine.schedules import ScheduleVerb
from orchestrator.model.ids import TenantId
from orchestrator.settings.duration import Duration
from orchestrator.settings.model import ScheduleSection, Tenant, Tier
from supervisors.slot import SlotState
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.support.database import Database
from tests.support.wait import until

SHORT = Duration(milliseconds=20)
FIRES = "SELECT array_agg(outcome ORDER BY fire_at) FROM tenant_acme.wf_fire"
WAKE = "SELECT due_at FROM insula.wake WHERE tenant = 'acme'"
SINCE = "SELECT since FROM insula.schedule WHERE tenant = 'acme'"


def every(seconds: float, **given: Any) -> ScheduleSection:
    """Return a schedule of the job `note`."""
    interval = Duration(seconds=seconds)
    return ScheduleSection(**{"name": "often", "workflow": "note", "every": interval, **given})


async def fired(node: Node, count: int, tenant: str = "acme") -> None:
    """Return when the tenant, which may have no tables yet, has finished so many runs."""

    async def enough() -> bool:
        made = await node.sql(f"SELECT to_regclass('tenant_{tenant}.wf_run') IS NOT NULL")
        return bool(made) and await node.finished(tenant) >= count

    await until(enough)


@pytest.mark.requirement("R10.wake")
async def test_a_tenant_that_was_never_used_wakes_for_its_schedule_and_sleeps_between(
    database: Database,
) -> None:
    declared = snapshot(["acme"], idle_ttl=SHORT, schedules=[every(1)])
    async with running_node(database, declared) as node:
        assert await node.sql("SELECT to_regnamespace('tenant_acme')") is None
        assert await node.sql(WAKE) is not None
        await fired(node, 2)
        await node.reach("acme", SlotState.DORMANT)
        slept = node.slot("acme").incarnation
        assert slept >= 2
        await fired(node, 3)
        assert set(await node.sql(FIRES)) == {"started"}


async def test_publishing_wakes_nobody_and_leaves_an_earlier_row_alone(database: Database) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=1)
    admin = await database.connect()
    await admin.execute("INSERT INTO insula.wake VALUES ('acme', $1, 'timer')", soon)
    names = ["acme", *(f"t{number}" for number in range(50))]
    year = 365 * 86400  # so long that its next end is not in the minute before `soon`
    declared = snapshot(names, schedules=[every(year), every(2 * year, name="rarely")])
    async with running_node(database, declared) as node:
        assert {slot.state for slot in node.root.slots.values()} == {SlotState.DORMANT}
        assert await node.sql(WAKE) == soon
        first = datetime.fromtimestamp((soon.timestamp() // year + 1) * year, UTC)
        due = "SELECT count(*) FROM insula.wake WHERE due_at = $1"
        assert await node.sql(due, first) == 50
        assert await node.sql("SELECT count(*) FROM insula.schedule") == 102


async def test_a_disabled_tenant_fires_nothing_and_begins_anew(database: Database) -> None:
    schedules = [every(1, catch_up="all")]
    declared = snapshot(["acme"], enabled=False, schedules=schedules)
    async with running_node(database, declared) as node:
        assert await node.sql(WAKE) is None
        assert await node.sql(SINCE) is None
        await node.declare("acme", schedules=schedules)
        await fired(node, 1)
        first = await node.sql("SELECT min(fire_at) FROM tenant_acme.wf_fire")
        assert first > await node.sql(SINCE)


async def test_what_an_operator_disables_begins_anew_on_every_node_when_it_is_enabled(
    database: Database,
) -> None:
    declared = snapshot(["acme"], schedules=[every(3600, catch_up="all")])
    async with (
        running_node(database, declared) as one,
        running_node(database, declared, name="b") as other,
    ):
        await one.sql("UPDATE insula.schedule SET since = since - interval '3 h'")
        for change in ("disabled_at = now()", "disabled_at = NULL"):
            await one.sql(f"UPDATE insula.tenant SET {change}, changed_in = pg_current_xact_id()")
            await one.tenants.refresh()
            await other.tenants.refresh()
            assert (await one.sql(SINCE) is None) is (change == "disabled_at = now()")
        since = await one.sql(SINCE)
        for node in (one, other):
            (schedule,) = node.slot("acme").config.schedules
            assert schedule.since == since


async def test_a_schedule_that_came_while_the_tenant_was_disabled_wakes_it(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.sql("UPDATE insula.tenant SET disabled_at = now()")
        await node.declare("acme", schedules=[every(3600)])
        assert await node.sql(WAKE) is None
        await node.sql("UPDATE insula.tenant SET disabled_at = NULL, changed_in = default")
        await node.tenants.refresh()
        assert await node.sql(WAKE) is not None


async def test_a_change_that_could_not_be_noted_is_taken_over_at_the_next_look(
    database: Database,
) -> None:
    admin = await database.connect()
    async with running_node(database, snapshot(["acme"], schedules=[every(3600)])) as node:
        await node.sql("UPDATE insula.tenant SET disabled_at = now(), changed_in = default")
        async with admin.transaction():
            await admin.execute("LOCK TABLE insula.schedule")
            with anyio.move_on_after(0.1) as cut:
                await node.tenants.refresh()
            assert cut.cancelled_caught
        assert node.slot("acme").state is SlotState.DORMANT
        await node.tenants.refresh()
        assert node.slot("acme").state is SlotState.SUSPENDED


async def test_who_falls_asleep_leaves_word_of_the_next_fire(database: Database) -> None:
    declared = snapshot(["acme"], idle_ttl=SHORT, schedules=[every(3600)])
    async with running_node(database, declared) as node:
        await node.sql("DELETE FROM insula.wake")
        await node.submit("acme")
        await node.reach("acme", SlotState.DORMANT)
        assert await node.sql(WAKE) == await node.sql("SELECT date_trunc('hour', now()) + '1 h'")


async def test_a_fire_missed_while_no_daemon_ran_is_caught_up_by_the_next(
    database: Database,
) -> None:
    declared = snapshot(["acme"], schedules=[every(3600)])
    async with running_node(database, declared) as node:
        # As if it had been declared, and the daemon stopped, before the hour.
        await node.sql("UPDATE insula.schedule SET since = since - interval '1 h'")
        await node.sql("UPDATE insula.wake SET due_at = date_trunc('hour', now())")
    async with running_node(database, declared, name="b") as node:
        await fired(node, 1)
        last = await node.sql("SELECT max(fire_at) FROM tenant_acme.wf_fire")
        assert last == await node.sql("SELECT date_trunc('hour', now())")


async def test_a_reload_adds_changes_and_removes_schedules_of_a_tenant_awake(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.submit("acme")
        await node.declare("acme", schedules=[every(1)])
        await fired(node, 2)
        await node.declare("acme", schedules=[every(3600)])
        hourly = await node.sql(SINCE)
        await node.declare("acme", schedules=[every(3600, priority=2)])
        assert await node.sql(SINCE) == hourly
        slot = node.slot("acme")
        engine = slot.engine
        assert engine is not None
        await until(lambda: not engine.busy)
        due = engine.next_due
        assert due is not None
        assert due.minute == 0
        await node.declare("acme")
        await until(lambda: engine.next_due is None)
        assert await node.sql("SELECT count(*) FROM insula.schedule") == 0
        assert slot.incarnation == 1


async def test_a_schedule_removed_and_back_while_its_tenant_slept_does_not_fire_for_the_past(
    database: Database,
) -> None:
    often = snapshot(["acme"], idle_ttl=SHORT, schedules=[every(3600, catch_up="all")])
    async with running_node(database, often) as node:
        await node.submit("acme")
        await node.reach("acme", SlotState.DORMANT)
        await node.sql("UPDATE tenant_acme.wf_schedule SET last_fire_at = now() - interval '1 day'")
        await node.declare("acme", idle_ttl=SHORT)
        await node.tenants.publish(often)
        await node.submit("acme")
        await fired(node, 2)
        assert await node.sql(FIRES) is None


async def test_a_tier_gives_its_schedules_to_each_of_its_tenants(database: Database) -> None:
    tenants = {name: Tenant(tier="gold") for name in ("acme", "globex")}
    from_tier = snapshot([], declarations=tenants, tiers={"gold": Tier(schedules=[every(1)])})
    async with running_node(database, from_tier) as node:
        for tenant in tenants:
            await fired(node, 1, tenant=tenant)


async def test_a_pause_asked_of_a_sleeping_tenant_wakes_it_and_holds(database: Database) -> None:
    declared = snapshot(["acme"], idle_ttl=SHORT, schedules=[every(3600)])
    async with running_node(database, declared) as node:
        acme = TenantId("acme")
        assert await node.root.change_schedule(acme, "often", ScheduleVerb.PAUSE) == []
        await node.reach("acme", SlotState.DORMANT)
        assert await node.sql("SELECT paused FROM tenant_acme.wf_schedule")
        (started,) = await node.root.change_schedule(acme, "often", ScheduleVerb.FIRE)
        await fired(node, 1)
        assert await node.sql("SELECT id FROM tenant_acme.wf_run") == started.id
