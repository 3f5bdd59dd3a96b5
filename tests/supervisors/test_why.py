"""Why a tenant does not run: one answer, and what led to it."""

from __future__ import annotations

from uuid import uuid4

import pytest

from orchestrator.daemon.attention import busiest, quarantined
from orchestrator.daemon.platform import TenantPlatform
from orchestrator.model.api import CreateTenant, TenantWhy
from orchestrator.model.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    TenantNotFound,
    TenantSuspended,
)
from orchestrator.model.ids import TenantId
from orchestrator.quota.alerts import WINDOWS
from orchestrator.settings.duration import Duration
from orchestrator.store.control import leases, nodes, tenants, transitions
from orchestrator.store.tenant.runs import RunFilter
from orchestrator.workflow.registry import Registry
from supervisors.ground import Access
from supervisors.history import REASON_CHARACTERS
from supervisors.slot import SlotState
from supervisors.standing import Standing
from tests.supervisors.nodes import LONG, Node, in_good_standing, running_node, snapshot
from tests.supervisors.workflows import GATES
from tests.support.database import Database
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

ACME = TenantId("acme")


def platform_of(node: Node, standing: Standing | None = None) -> TenantPlatform:
    """Return what the API asks."""
    return TenantPlatform(
        root=node.root,
        shards=node.tenants.shards,
        registry=Registry(),
        node=node.name,
        role_prefix=node.database.role_prefix,
        standing=standing or in_good_standing(),
        remembered=node.tenants.remembered,
        absent=lambda: node.tenants.absent,
        register=node.tenants.register,
        prepare=node.tenants.prepare,
        ground=node.ground,
    )


async def why(node: Node, standing: Standing | None = None) -> TenantWhy:
    """Ask as the API does."""
    return await platform_of(node, standing).why(ACME)


async def test_a_life_is_told_from_its_end(database: Database) -> None:
    idle = Duration(milliseconds=20)
    async with running_node(database, snapshot(["acme"], idle_ttl=idle)) as node:
        assert (await why(node)).because == "it has nothing to do now"
        await node.submit("acme", "later")
        await node.reach("acme", SlotState.DORMANT)
        found = await why(node)
        assert (found.state, found.served_by) == ("dormant", None)
        assert found.next_at is not None
        assert [each.state for each in found.transitions[:4]] == [
            "dormant",
            "draining",
            "running",
            "starting",
        ]
        assert found.transitions[1].reason == "idle"
        assert {each.node for each in found.transitions} == {"a"}


async def test_a_quarantined_tenant_says_what_is_missing_and_when_it_is_tried(
    database: Database,
) -> None:
    async def refused(_: TenantId) -> Access:
        raise DatabaseRefused("permission denied:\0\ud800" + 2000 * "x")

    async with running_node(database, snapshot(["acme"]), prepare=refused) as node:
        node.root.wake(ACME)
        await node.reach("acme", SlotState.QUARANTINED)
        found = await why(node)
        assert quarantined(node.root.slots.values()) == ["acme"]
        assert "permission denied" in found.because
        assert found.next_at == node.slot("acme").retry_at is not None
        reason = found.transitions[0].reason
        assert reason.startswith("permission denied:\\x00\\ud800xxx")
        assert len(reason) == REASON_CHARACTERS
        assert found.transitions[0].next_at == found.next_at


async def test_a_tenant_that_others_leave_no_slot_says_so_and_nothing_of_them(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme", "hog"])) as node:
        await node.submit("acme", "wait", gate="slots")
        await until(lambda: GATES.arrived["slots"] == 1, what="the task runs")
        greedy = node.slots.tenant(limit=None, weight=1, wake=lambda: None)
        assert "slots" not in (await why(node)).because
        while greedy.take():
            pass

        assert (await why(node)).because == (
            "it is awake; all 64 task slots of the node are in use, 1 of them by this tenant"
        )
        assert busiest(node.root.slots.values()) == {"acme": 1}
        GATES.open("slots")


async def test_a_tenant_that_waits_for_what_an_operator_has_locked_says_for_whom(
    database: Database,
) -> None:
    operator = await database.connect()
    async with running_node(database, snapshot(["acme"])) as node:
        await node.submit("acme", "wait", gate="locked")
        await until(lambda: GATES.arrived["locked"] == 1, what="the task runs")

        async with operator.transaction():
            await operator.execute("SELECT FROM tenant_acme.wf_run FOR UPDATE")
            pid = operator.get_server_pid()
            GATES.open("locked")
            await until(lambda: _tells(node, f"it waits for what process {pid} ("))

        await node.until_finished("acme", 1)
        assert (await why(node)).because == "it is awake"
        assert node.slot("acme").incarnation == 1


async def _tells(node: Node, what: str) -> bool:
    return what in (await why(node)).because


@pytest.mark.parametrize("away", [True, False])
async def test_what_the_node_knows_is_told_without_the_database(
    database: Database, away: bool
) -> None:
    async with running_node(database, snapshot(["acme"], enabled=False)) as node:
        standing = in_good_standing()
        if away:
            standing.lost("connection refused")
        found = await why(node, standing)
        assert found.because.startswith("it is disabled by its file: set enabled = true")


async def test_a_tenant_that_sleeps_tells_of_a_silent_database_and_its_tables_are_not_asked(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.submit("acme")
        await node.until_finished("acme", 1)
        node.ground.standing.lost("no answer in time")

        platform = platform_of(node, node.ground.standing)

        assert (
            await platform.why(ACME)
        ).because == "the database does not answer: no answer in time"
        with pytest.raises(DatabaseUnavailable, match="has not answered since") as refused:
            await platform.read_runs(ACME, RunFilter())
        assert "insula status" in refused.value.hint
        node.ground.standing.found()


async def test_a_tenant_that_an_operator_disabled_says_since_when_why_and_what_to_do(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        async with node.control.acquire() as connection:
            await tenants.disable(connection, ACME, "has not paid")
        await node.tenants.refresh()
        row = node.tenants.remembered(ACME)
        assert row is not None
        found = await why(node)
        assert (found.transitions[0].state, found.transitions[0].reason) == (
            "suspended",
            "has not paid",
        )
        assert found.because == (
            f"it is disabled since {row.disabled_at:%Y-%m-%d %H:%M:%S} UTC: has not paid "
            "(insula tenant audit acme tells by whom, insula tenant enable acme takes it back)"
        )


async def test_a_registered_tenant_that_was_created_disabled_is_enabled_by_the_verb(
    database: Database,
) -> None:
    async with running_node(database, snapshot([])) as node:
        await node.tenants.register(CreateTenant(id="acme", set={"enabled": False}))
        assert "insula tenant enable acme takes it back" in (await why(node)).because
        with pytest.raises(TenantSuspended) as refused:
            await node.submit("acme")
        assert refused.value.hint == "insula tenant enable acme"


async def test_a_tenant_whose_deletion_has_begun_is_listed_and_says_so(database: Database) -> None:
    async with running_node(database, snapshot([])) as node:
        await node.tenants.register(CreateTenant(id="acme"))
        async with node.control.acquire() as connection:
            row = await tenants.mark_deleting(connection, ACME, "keep")
        await node.tenants.refresh()
        platform = platform_of(node)
        assert [(each.id, each.state) for each in platform.tenants()] == [("acme", "deleting")]
        with pytest.raises(TenantNotFound, match="'acme' is being deleted since 20") as missing:
            platform.resolve("acme")
        assert "insula tenant delete acme goes on" in missing.value.hint
        async with node.control.acquire() as connection:
            await tenants.unmark_deleting(connection, row)
        await node.tenants.refresh()
        assert [(each.id, each.state) for each in platform.tenants()] == [("acme", "dormant")]


async def test_a_pause_is_shown_with_its_reason_also_of_a_tenant_that_sleeps(
    database: Database,
) -> None:
    async with running_node(
        database, snapshot(["acme", "fresh"], idle_ttl=Duration(seconds=0))
    ) as node:
        platform = platform_of(node)
        assert (await platform.read_tenant(TenantId("fresh"))).pauses == []
        await node.root.set_pause(ACME, "", paused=True, reason="wrong figures")
        await node.root.set_pause(ACME, "note", paused=True)
        await node.root.set_pause(ACME, "", paused=True)
        await node.reach("acme", SlotState.DORMANT)
        shown = (await platform.read_tenant(ACME)).pauses or []
        assert [(each.workflow, each.reason) for each in shown] == [
            (None, "wrong figures"),
            ("note", ""),
        ]
        said = (await why(node)).because
        assert f"it is paused since {shown[0].since:%Y-%m-%d %H:%M:%S} UTC (wrong figures)" in said
        assert platform.tenants()[0].pauses is None, "nobody asked its schema"

        await node.root.set_pause(ACME, "", paused=False)
        await node.root.set_pause(ACME, "note", paused=False)
        assert (await platform.read_tenant(ACME)).pauses == []


async def test_a_tenant_that_another_node_has_just_moved_away_is_told_of_without_its_pauses(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"], idle_ttl=Duration(seconds=0))) as node:
        await node.root.set_pause(ACME, "", paused=True)
        await node.reach("acme", SlotState.DORMANT)
        await node.sql("ALTER SCHEMA tenant_acme RENAME TO moved_acme")

        found = await why(node)

        assert found.because == "it has nothing to do now"


async def test_one_query_tells_why_a_tenant_does_not_run(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisors.wake.POLL_SECONDS", 3600.0)
    async with CuttingProxy(database.target).running() as way:
        database.target = way.target
        async with running_node(database, snapshot(["acme"])) as node:
            await why(node)
            before = way.statements
            assert (await why(node)).because == "it has nothing to do now"
            assert way.statements == before + 1


async def test_the_list_has_the_pauses_of_those_awake(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.root.set_pause(ACME, "", paused=True, reason="wrong figures")
        (listed,) = platform_of(node).tenants()
        assert [each.reason for each in listed.pauses or []] == ["wrong figures"]


async def test_a_tenant_of_another_node_says_whose_it_is(database: Database) -> None:
    admin = await database.connect()
    other = uuid4()
    await nodes.register(admin, other, "b", LONG)
    await leases.claim(admin, ACME, other)
    async with running_node(database, snapshot(["acme"])) as node:
        found = await why(node)
        assert (found.because, found.served_by) == ("node 'b' serves it", "b")


async def test_only_the_last_changes_of_each_tenant_are_kept(database: Database) -> None:
    admin = await database.connect()
    now = await admin.fetchval("SELECT now()")
    for tenant, count in (("acme", transitions.KEPT + 7), ("globex", 3)):
        row = await tenants.register(admin, TenantId(tenant), "{}")
        changes = [
            transitions.Change(row.registration, now, "backoff", str(number), None)
            for number in range(count)
        ]
        await transitions.record(admin, "a", changes)
    _, found = await transitions.written(admin, ACME, WINDOWS)
    assert [each.reason for each in found] == [
        str(number) for number in range(transitions.KEPT + 6, 6, -1)
    ]
    _, others = await transitions.written(admin, TenantId("globex"), WINDOWS)
    assert len(others) == 3
    assert await admin.fetchval("SELECT count(*) FROM insula.transition") == transitions.KEPT + 3
