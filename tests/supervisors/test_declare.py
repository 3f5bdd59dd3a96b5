"""Which tenants there are: declared by files, registered at run time, changed and removed."""

from __future__ import annotations

import gc
import secrets
from random import Random
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.reply import Reply
from orchestrator.engine.slots import NodeSlots
from orchestrator.lifecycle.keys import InstallationKey
from orchestrator.model.api import CreateTenant, Started
from orchestrator.model.clock import HandClock
from orchestrator.model.errors import (
    ConfigError,
    QuotaExceeded,
    ShuttingDown,
    TenantExists,
    TenantNotFound,
    TenantRemoved,
    TenantSuspended,
    Unavailable,
)
from orchestrator.model.ids import TenantId
from orchestrator.settings.duration import Duration
from orchestrator.settings.model import (
    Limits,
    ScheduleSection,
    SupervisionSection,
    Tenant,
    Tier,
)
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.connect import ControlPool
from orchestrator.store.control.keys import Keyring
from orchestrator.store.shards import Shards
from orchestrator.store.tenant.places import Places
from orchestrator.workflow.registry import Registry
from supervisors.ground import Access, Ground
from supervisors.messages import Submit
from supervisors.root import RootSupervisor
from supervisors.slot import SlotState
from supervisors.standing import Standing
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.workflows import GATES
from tests.support.database import Database
from tests.support.wait import until

NAMES = ("one", "two", "three", "four", "five")
Configurations = list[dict[str, bool]]


async def _never(_: TenantId, /, *, again: bool = False) -> Access:
    raise AssertionError("nobody starts here")


def resting_root() -> RootSupervisor:
    """Return a root that does not run, so that every slot is at rest."""
    ground = Ground(
        node=uuid4(),
        name="a",
        standing=Standing(1.0),
        shards=Shards(ControlPool.__new__(ControlPool)),
        prepare=_never,
        registry=Registry(),
        slots=NodeSlots(1),
        clock=HandClock(),
        connect_timeout=1.0,
        app_places=Places(1),
        processes=ProcessPool(size=1, memory_bytes=None),
        keys=Keyring(ControlPool.__new__(ControlPool), InstallationKey(bytes(32))),
    )
    return RootSupervisor(ground, SupervisionSection(), max_awake=1)


def configs(wanted: dict[str, bool]) -> list[TenantConfig]:
    return [TenantConfig(id=TenantId(n), name=n, enabled=on) for n, on in wanted.items()]


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), st.booleans()), min_size=1, max_size=12))
def test_whatever_was_declared_before_the_slots_are_those_declared_last(
    sequence: Configurations,
) -> None:
    root = resting_root()
    for wanted in sequence:
        root.declare(configs(wanted), {})
    last = sequence[-1]
    assert {name: slot.config.enabled for name, slot in root.slots.items()} == last
    for name, slot in root.slots.items():
        assert slot.state is (SlotState.DORMANT if last[name] else SlotState.SUSPENDED)
    root.declare([], {})
    assert root.slots == {}


async def test_a_slot_knows_nothing_of_a_former_tenant_of_its_id() -> None:
    root, (config,) = resting_root(), configs({"one": True})
    former, present = (replace(config, registration=UUID(int=number)) for number in (1, 2))
    root.declare([former], {})
    slot, reply = root.slot(config.id), Reply[list[Started]]()
    slot.last_error = "a secret of the former one"
    slot.post(Submit([], reply), HandClock().now())

    known = []
    for declared in (replace(former, weight=7), present):
        root.declare([declared], {})
        known.append((slot.last_error, slot.has_mail))

    assert known == [("a secret of the former one", True), (None, False)]
    with pytest.raises(TenantRemoved):
        await reply.wait()
    root.declare([], {})


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_under_load_too_the_slots_are_those_declared_last(
    database: Database, seed: int
) -> None:
    chance = Random(seed)  # noqa: S311 - to be repeated, not to be secret
    async with running_node(database, snapshot(NAMES, idle_ttl=Duration(0))) as node:
        wanted: dict[str, bool] = {}
        async with anyio.create_task_group() as group:
            for _ in range(40):
                wanted = {n: chance.random() < 0.7 for n in NAMES if chance.random() < 0.7}
                declarations = {
                    name: Tenant(enabled=on, idle_ttl=Duration(0), weight=chance.randint(1, 9))
                    for name, on in wanted.items()
                }
                await node.tenants.publish(snapshot((), declarations=declarations))
                for name in NAMES:
                    group.start_soon(_try, node, name)
                if chance.random() < 0.5:
                    await anyio.sleep(chance.random() * 0.03)
        await until(lambda: _settled(node, wanted))
        for name, on in wanted.items():
            if on:
                await node.submit(name)


def _settled(node: Node, wanted: dict[str, bool]) -> bool:
    found = {name: slot.state for name, slot in node.root.slots.items()}
    return found == {
        name: SlotState.DORMANT if on else SlotState.SUSPENDED for name, on in wanted.items()
    }


async def _try(node: Node, tenant: str) -> None:
    try:
        await node.submit(tenant)
    except (TenantNotFound, TenantSuspended, Unavailable):
        return


async def test_a_removed_tenant_lets_its_runs_end_and_loses_its_slot_but_no_data(
    database: Database,
) -> None:
    held = secrets.token_hex(4)
    async with running_node(database, snapshot(["acme"])) as node:
        await node.hold("acme", held)
        await node.declare()
        with pytest.raises(TenantRemoved):
            await node.submit("acme")
        GATES.open(held)
        await until(lambda: not node.root.slots)
        with pytest.raises(TenantNotFound):
            await node.submit("acme")
        assert await node.finished("acme") == 1
        await node.declare("acme")
        await node.submit("acme", key="again")


async def test_a_tenant_removed_and_declared_again_while_it_drains_lives_on(
    database: Database,
) -> None:
    held = secrets.token_hex(4)
    async with running_node(database, snapshot(["acme"])) as node:
        await node.hold("acme", held)
        await node.declare()
        await node.reach("acme", SlotState.DRAINING)
        await node.declare("acme")
        async with anyio.create_task_group() as group:
            group.start_soon(node.submit, "acme")
            await anyio.wait_all_tasks_blocked()
            GATES.open(held)

        await node.until_finished("acme", 2)


async def test_a_tenant_disabled_while_it_starts_serves_nothing(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.tenants.prepare(TenantId("acme"))
        async with anyio.create_task_group() as group:
            other = await database.connect()
            async with other.transaction():
                await other.execute("LOCK insula.lease")
                group.start_soon(_suspended, node)
                await node.reach("acme", SlotState.STARTING)
                await node.declare("acme", enabled=False)
            await node.reach("acme", SlotState.SUSPENDED)
        assert await node.sql("SELECT count(*) FROM tenant_acme.wf_run") == 0
        assert await node.sql("SELECT count(node) FROM insula.lease") == 0


async def _suspended(node: Node) -> None:
    with pytest.raises(TenantSuspended):
        await node.submit("acme")


async def test_changed_limits_apply_to_a_tenant_that_is_awake(database: Database) -> None:
    held = secrets.token_hex(4)
    narrow = Limits(max_concurrent_tasks=1, max_queue_length=3)
    async with running_node(database, snapshot(["acme"], limits=narrow)) as node:
        for _ in range(4):
            await node.submit("acme", "wait", gate=held)
        with pytest.raises(QuotaExceeded):
            await node.submit("acme", "wait", gate=held)
        assert GATES.arrived[held] == 1
        await node.declare("acme", limits=Limits(max_concurrent_tasks=3))
        await until(lambda: GATES.arrived[held] == 3)
        await node.declare("acme", limits=Limits(max_concurrent_runs=1))
        await node.submit("acme", "wait", gate=held)
        GATES.open(held)

        await node.until_finished("acme", 5)
        assert node.slot("acme").incarnation == 1


async def test_no_change_of_a_running_tenant_restarts_it(database: Database) -> None:
    held = secrets.token_hex(4)
    changes: dict[str, Any] = {
        **{name: {"key": True} for name in ("settings", "features", "metadata")},
        "limits": Limits(max_concurrent_tasks=2),
        "workflows": ["wait"],
        "schedules": [ScheduleSection(name="s", workflow="wait", every=Duration(hours=1))],
        "idle_ttl": Duration(hours=1),
        "weight": 2,
        "name": "ACME",
        "tier": "basic",
        "aliases": ["acme-corp"],
        "encrypt_payloads": True,
    }
    # A tenant with tables stays where they are, and only to disable it stops it.
    assert set(changes) | {"enabled", "shard"} == set(Tenant.__struct_fields__)
    async with running_node(database, snapshot(["acme"])) as node:
        await node.hold("acme", held)
        for name, value in changes.items():
            before = getattr(node.slot("acme").config, name)
            declared = snapshot(["acme"], tiers={"basic": Tier()}, **{name: value})
            await node.tenants.publish(declared)
            assert getattr(node.slot("acme").config, name) != before, name
        assert (node.slot("acme").state, node.slot("acme").incarnation) == (SlotState.RUNNING, 1)
        GATES.open(held)
        await node.until_finished("acme", 1)
        await node.declare("acme", enabled=False)
        await node.reach("acme", SlotState.SUSPENDED)


async def test_a_shorter_idle_time_applies_to_a_tenant_that_is_awake(database: Database) -> None:
    async with running_node(database, snapshot(["acme"], idle_ttl=Duration(hours=1))) as node:
        await node.submit("acme")
        await node.declare("acme", idle_ttl=Duration(0))
        await node.reach("acme", SlotState.DORMANT)


async def test_a_registered_tenant_survives_reload_and_restart(database: Database) -> None:
    declared = snapshot(["acme"])
    async with running_node(database, declared) as node:
        request = CreateTenant(id="globex", aliases=["Globex-Corp"], set={"weight": 3})
        await node.tenants.register(request)
        assert node.root.resolve("globex-corp") == "globex"
        await node.declare("acme")
        assert node.root.resolve("GLOBEX-corp") == "globex"
    async with running_node(database, declared) as second:
        assert second.slot("globex").config.weight == 3
        assert second.slot("globex").config.source == "api"
        await second.submit("globex")


async def test_a_file_that_declares_a_registered_tenant_wins(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.tenants.register(CreateTenant(id="globex", set={"weight": 3}))
        await node.submit("globex")
        await node.declare("acme", "globex", weight=7)
        assert node.slot("globex").config.weight == 7
        assert node.slot("globex").config.source == "file"
        assert node.slot("globex").incarnation == 1
        await node.declare("acme")
        await until(lambda: set(node.root.slots) == {"acme"})


@pytest.mark.parametrize("name", ["acme", "ACME-corp", "globex", "Glob"])
async def test_a_name_that_is_taken_is_refused(database: Database, name: str) -> None:
    declared = snapshot((), declarations={"acme": Tenant(aliases=["acme-corp"])})
    async with running_node(database, declared) as node:
        await node.tenants.register(CreateTenant(id="globex", aliases=["glob"]))
        with pytest.raises(TenantExists):
            await node.tenants.register(CreateTenant(id="initech", aliases=[name]))
        if name.islower():
            with pytest.raises(TenantExists):
                await node.tenants.register(CreateTenant(id=name))


async def test_of_two_that_want_one_alias_at_once_one_gets_it(database: Database) -> None:
    async with running_node(database, snapshot(())) as node:
        refused: list[str] = []

        async def register(tenant: str) -> None:
            try:
                await node.tenants.register(CreateTenant(id=tenant, aliases=["shared"]))
            except TenantExists:
                refused.append(tenant)

        async with anyio.create_task_group() as group:
            for tenant in ("one", "two", "three"):
                group.start_soon(register, tenant)
        assert len(refused) == 2
        assert set(node.root.slots) == {"one", "two", "three"} - set(refused)


async def test_a_reload_that_takes_a_registered_tenants_tier_is_refused(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        with_tier = snapshot(["acme"], tiers={"basic": Tier(weight=4)})
        await node.tenants.publish(with_tier)
        await node.tenants.register(CreateTenant(id="globex", tier="basic"))
        with pytest.raises(ConfigError, match="globex"):
            await node.declare("acme", "other")
        assert set(node.root.slots) == {"acme", "globex"}
        assert node.slot("globex").config.weight == 4
    async with running_node(database, snapshot(["acme"])) as second:
        assert set(second.root.slots) == {"acme"}, "a start goes without it"


async def test_nothing_is_started_by_a_reload_while_the_node_drains(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.root.drain()
        await node.declare("acme", "globex")
        with pytest.raises(ShuttingDown):
            await node.submit("globex")


@pytest.mark.parametrize("why", ["drain", "disable", "remove"])
async def test_mail_of_a_tenant_that_will_not_serve_it_is_answered_at_once(
    database: Database, why: str
) -> None:
    refused: list[Exception] = []
    async with running_node(database, snapshot(["acme"])) as node:

        async def submit() -> None:
            try:
                await node.submit("acme")
            except (ShuttingDown, TenantSuspended, TenantRemoved) as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            other = await database.connect()
            async with other.transaction():
                await other.execute("LOCK insula.tenant IN EXCLUSIVE MODE")
                group.start_soon(submit)
                await node.reach("acme", SlotState.STARTING)
                match why:
                    case "drain":
                        group.start_soon(node.root.drain)
                    case "disable":
                        node.root.declare(configs({"acme": False}), {})
                    case _:
                        node.root.declare([], {})
                await until(lambda: len(refused) == 1, within=3.0)


def test_how_many_tenants_stand_where_is_known_without_counting_those_that_sleep() -> None:
    root = resting_root()
    root.declare(configs({f"tenant_{n}": n % 100 > 0 for n in range(1000)}), {})
    assert root.states == {SlotState.DORMANT: 990, SlotState.SUSPENDED: 10}
    root.declare(configs({"tenant_0": True, "tenant_1": False}), {})
    assert root.states == {SlotState.DORMANT: 1, SlotState.SUSPENDED: 1}
    root.declare([], {})


def test_a_tenant_that_a_reload_does_not_change_is_left_alone() -> None:
    root = resting_root()
    root.declare(configs({"one": True, "two": True}), {})
    before = {name: slot.config for name, slot in root.slots.items()}
    root.declare(configs({"one": True, "two": False}), {})
    kept = [name for name, slot in root.slots.items() if slot.config is before[name]]
    assert kept == ["one"]
    root.declare([], {})


def test_the_garbage_collector_does_not_walk_over_the_configuration() -> None:
    (config,) = configs({"one": True})
    assert not any(gc.is_tracked(each) for each in (config, config.limits, Tenant()))
