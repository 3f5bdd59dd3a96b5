"""A pause that somebody forgot is seen by who lists the tenants, and nobody is woken for it."""

from __future__ import annotations

from uuid import uuid4

import pytest

from orchestrator.daemon.pauses import ToldPauses, paused_in
from orchestrator.model.ids import TenantId
from orchestrator.settings.duration import Duration
from supervisors.slot import SlotState
from tests.supervisors.nodes import Node, in_good_standing, running_node, snapshot
from tests.supervisors.test_why import platform_of
from tests.support.database import Database
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
AT_ONCE = Duration(seconds=0)


async def listed(node: Node) -> dict[str, list[tuple[str | None, str]]]:
    """Return what the list shows as paused, and why."""
    return {
        each.id: [(pause.workflow, pause.reason) for pause in each.pauses or ()]
        for each in await platform_of(node).listed()
    }


async def paused(node: Node) -> tuple[int | None, list[str]]:
    """Return what `insula status` shows."""
    told = await ToldPauses(node.control, in_good_standing()).of_all()
    return paused_in(node.root.slots.values(), told)


async def test_the_list_has_the_pauses_of_those_that_sleep_and_wakes_none(
    database: Database,
) -> None:
    declared = snapshot(["acme", "globex"], idle_ttl=AT_ONCE)
    async with running_node(database, declared) as node:
        await node.root.set_pause(ACME, "", paused=True, reason="wrong figures")
        await node.root.set_pause(ACME, "note", paused=True)
        await node.reach("acme", SlotState.DORMANT)
        lives = node.slot("acme").incarnation

        told = [(None, "wrong figures"), ("note", "")]
        assert await listed(node) == {"acme": told, "globex": []}
        assert await paused(node) == (1, ["acme"])
        assert node.slot("acme").incarnation == lives

        await node.root.set_pause(ACME, "", paused=False)
        await node.root.set_pause(ACME, "note", paused=False)
        await node.reach("acme", SlotState.DORMANT)
        assert await listed(node) == {"acme": [], "globex": []}
        assert await paused(node) == (0, [])


async def test_a_node_shows_what_is_paused_of_a_tenant_that_another_one_serves(
    database: Database,
) -> None:
    declared = snapshot(["acme"])
    async with (
        running_node(database, declared, name="a") as a,
        running_node(database, declared, name="b") as b,
    ):
        await a.root.set_pause(ACME, "", paused=True, reason="wrong figures")

        async def seen() -> bool:
            return await listed(b) == {"acme": [(None, "wrong figures")]}

        await until(seen)
        assert a.slot("acme").state is SlotState.RUNNING


async def test_what_a_node_that_died_had_not_told_yet_is_told_by_the_next(
    database: Database,
) -> None:
    declared = snapshot(["acme"], idle_ttl=AT_ONCE)
    async with running_node(database, declared, name="a") as a:
        await a.root.set_pause(ACME, "", paused=True)
        await a.reach("acme", SlotState.DORMANT)
    admin = await database.connect()
    await admin.execute("UPDATE insula.lease SET pauses = '[]', node = $1", uuid4())
    async with running_node(database, declared, name="b") as b:

        async def seen() -> bool:
            return await paused(b) == (1, ["acme"])

        await until(seen)


async def test_the_list_asks_as_often_however_many_tenants_there_are(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisors.wake.POLL_SECONDS", 3600.0)
    async with CuttingProxy(database.target).running() as way:
        database.target = way.target
        async with running_node(database, snapshot(["acme"])) as node:
            asked = []
            for tenants in (["acme"], ["acme", "globex", "initech"]):
                await node.declare(*tenants)
                await listed(node)
                before = way.statements
                assert set(await listed(node)) == set(tenants)
                asked.append(way.statements - before)
            assert asked == [2, 2]
