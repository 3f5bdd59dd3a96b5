"""What the registry and the audit have of the tenants that files declare, change and leave out."""

from __future__ import annotations

from datetime import datetime

import pytest

from orchestrator.daemon.activity import Activity
from orchestrator.model.api import CreateTenant, UpdateTenant
from orchestrator.model.errors import ConfigError, TenantExists
from orchestrator.model.ids import TenantId
from orchestrator.settings.duration import Duration
from orchestrator.settings.model import Tenant, Tier
from orchestrator.store.control import audit, configuration, tenants
from supervisors.slot import SlotState
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.workflows import GATES
from tests.support.database import Database
from tests.support.wait import until

ACME, GLOBEX = TenantId("acme"), TenantId("globex")


async def hashes(node: Node, tenant: TenantId) -> tuple[str | None, str | None]:
    """Return what a tenant is to be served as, and what it was served as last."""
    async with node.control.acquire() as connection:
        return await configuration.hashes(connection, tenant)


async def last_active(node: Node, tenant: TenantId) -> datetime | None:
    """Return when the registry says that a tenant was active."""
    async with node.control.acquire() as connection:
        return (await tenants.fetch(connection, tenant)).last_active_at


async def told(database: Database, tenant: TenantId = ACME) -> list[tuple[str, str]]:
    """Return operation and subject of a tenant's entries, oldest first."""
    entries = await audit.page(await database.connect(), tenant, limit=99)
    assert {(each.actor, each.outcome) for each in entries} <= {("insula", "done")}
    return [(each.operation, each.subject) for each in reversed(entries)]


async def test_a_tenant_is_to_be_served_as_declared_and_is_when_it_sleeps_again(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"], idle_ttl=Duration(0))) as node:
        wanted, applied = await hashes(node, ACME)
        assert (wanted, applied) == (node.slot("acme").config.digest, None)

        await node.submit("acme")
        await node.reach("acme", SlotState.DORMANT)
        assert await hashes(node, ACME) == (wanted, wanted)

        await node.declare("acme", weight=3, idle_ttl=Duration(0))
        later, applied = await hashes(node, ACME)
        assert later != applied == wanted


async def test_what_operators_and_verbs_make_of_a_tenant_is_no_other_configuration(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        before = node.slot("acme").config.digest
        async with node.holds.of(ACME, "rename"):
            assert node.slot("acme").config.digest == before


async def test_a_registered_tenant_has_a_hash_that_follows_its_changes(database: Database) -> None:
    async with running_node(database, snapshot([])) as node:
        await node.tenants.register(CreateTenant(id="globex"))
        first = await hashes(node, GLOBEX)
        await node.tenants.update(GLOBEX, UpdateTenant(name="Globex"))

        assert await hashes(node, GLOBEX) == (node.slot("globex").config.digest, None) != first


async def test_a_tenant_that_is_awake_for_days_is_known_to_be_active(database: Database) -> None:
    async with running_node(database, snapshot(["acme"], idle_ttl=Duration(days=9))) as node:
        activity = Activity(node.root, node.control)
        await node.hold("acme", "active")
        await activity.note()
        first = await last_active(node, ACME)
        GATES.open("active")
        await node.until_finished("acme", 1)
        await until(lambda: not _busy(node), what="it has nothing to do")

        await activity.note()
        second = await last_active(node, ACME)
        await activity.note()

        assert first is not None
        assert second is not None
        assert second > first
        assert await last_active(node, ACME) == second


def _busy(node: Node) -> bool:
    engine = node.slot("acme").engine
    return engine is not None and engine.busy


async def test_each_change_of_a_file_is_told_once(database: Database) -> None:
    both = snapshot(["acme", "globex"])
    async with running_node(database, both) as node:
        for change in (
            both,
            snapshot(["acme", "globex"], weight=3),
            snapshot(["acme"], weight=3),
            snapshot(["acme"], weight=3, aliases=["acme-corp"]),
        ):
            await node.tenants.publish(change)
        await node.tenants.publish(both)
    async with running_node(database, both, name="b"):
        pass

    assert await told(database) == [
        ("tenant.declare", "in a file"),
        ("tenant.update", "weight"),
        ("tenant.update", "aliases"),
        ("tenant.update", "aliases weight"),
    ]
    assert await told(database, GLOBEX) == [
        ("tenant.declare", "in a file"),
        ("tenant.update", "weight"),
        ("tenant.undeclare", "no file has it any more"),
        ("tenant.declare", "in a file"),
    ]


async def test_what_files_say_otherwise_at_start_is_told(database: Database) -> None:
    for weight in (1, 1, 2):
        async with running_node(database, snapshot(["acme"], weight=weight)):
            pass
    async with running_node(database, snapshot([])):
        pass

    assert await told(database) == [
        ("tenant.declare", "in a file"),
        ("tenant.update", "seen at start"),
        ("tenant.undeclare", "no file has it any more"),
    ]


async def test_a_file_that_takes_a_registered_tenant_over_is_told(database: Database) -> None:
    async with running_node(database, snapshot([])) as node:
        await node.tenants.register(CreateTenant(id="globex"))
        await node.declare("globex")

    assert await told(database, GLOBEX) == [
        ("tenant.declare", "in a file, which goes before its registration")
    ]


async def test_a_tier_changes_registered_tenants_and_is_told_of_each(database: Database) -> None:
    first, second = (snapshot([], tiers={"basic": Tier(weight=weight)}) for weight in (2, 3))
    async with running_node(database, first) as node:
        await node.tenants.register(CreateTenant(id="globex", tier="basic"))

        assert await node.tenants.publish(second) == {"globex": ["weight"]}
        assert await node.tenants.publish(second) == {}

    assert await told(database, GLOBEX) == [("tenant.update", "weight")]


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        ({"other": Tenant(aliases=["Both"])}, "both"),
        ({"other": Tenant(aliases=["globex"])}, "globex"),
        ({"both": Tenant()}, "both"),
    ],
)
@pytest.mark.requirement("T1.shared")
async def test_a_file_that_takes_a_name_from_a_registered_tenant_is_refused_by_a_reload(
    database: Database, declared: dict[str, Tenant], name: str
) -> None:
    async with running_node(database, snapshot([])) as node:
        await node.tenants.register(CreateTenant(id="globex", aliases=["both"]))

        with pytest.raises(ConfigError, match=f"'globex'.*both have the name '{name}'"):
            await node.tenants.publish(snapshot([], declarations=declared))

        assert set(node.root.slots) == {"globex"}
    async with running_node(database, snapshot([], declarations=declared)) as started:
        (other,) = declared
        assert started.root.resolve(name) == ("globex" if name == "globex" else other)
        await started.tenants.publish()


@pytest.mark.requirement("T2.both")
async def test_who_registers_what_a_file_declares_is_told_so(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        with pytest.raises(TenantExists, match="by tenant 'acme', which a file declares"):
            await node.tenants.register(CreateTenant(id="globex", aliases=["acme"]))
