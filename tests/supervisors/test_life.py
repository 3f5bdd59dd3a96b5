"""A tenant's life: it starts when it is needed, and lets go of everything when it is idle."""

from __future__ import annotations

import secrets
from typing import Any

import anyio
import pytest

from orchestrator.model.clock import HandClock
from orchestrator.model.errors import (
    TenantBusy,
    TenantNotFound,
    TenantStarting,
    TenantSuspended,
    WorkflowNotFound,
)
from orchestrator.model.ids import TenantId
from orchestrator.settings.duration import Duration
from orchestrator.settings.model import SupervisionSection
from supervisors.messages import Stop
from supervisors.places import may_sleep
from supervisors.slot import SlotState
from tests.supervisors.nodes import running_node, snapshot
from tests.supervisors.workflows import EXECUTED, GATES
from tests.support.database import Database
from tests.support.wait import until

SHORT = Duration(milliseconds=20)


def gate() -> str:
    return secrets.token_hex(4)


@pytest.mark.requirement("T3.first")
async def test_a_tenant_that_nobody_used_has_no_connection_and_no_schema(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        assert node.slot("acme").state is SlotState.DORMANT
        assert await node.sql("SELECT to_regnamespace('tenant_acme')") is None
        await node.submit("acme")
        assert await node.connections("acme") >= 1
        assert node.slot("acme").state is SlotState.RUNNING


async def test_concurrent_first_submits_start_one_supervisor(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(node.submit, "acme")
        assert node.slot("acme").incarnation == 1
        assert node.slot("acme").epoch == 1

        await node.until_finished("acme", 50)


async def test_a_full_mailbox_refuses_at_once_and_the_others_are_served(database: Database) -> None:
    supervision = SupervisionSection(mailbox=3)
    async with running_node(
        database, snapshot(["acme", "globex"], supervision=supervision)
    ) as node:
        refused: list[TenantBusy] = []

        async def submit() -> None:
            try:
                await node.submit("acme")
            except TenantBusy as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            # The supervisor starts meanwhile, so nobody empties the box.
            for _ in range(5):
                group.start_soon(submit)
            await anyio.wait_all_tasks_blocked()
            assert len(refused) == 2
            await node.submit("globex")
        assert refused[0].retry_after > 0


async def test_an_idle_tenant_lets_go_of_lease_and_connections(database: Database) -> None:
    async with running_node(database, snapshot(["acme"], idle_ttl=SHORT)) as node:
        await node.submit("acme")
        await node.reach("acme", SlotState.DORMANT)
        assert await node.sql("SELECT node FROM insula.lease WHERE tenant = 'acme'") is None
        assert await node.sql("SELECT count(*) FROM insula.wake") == 0
        since = "SELECT last_active_at > now() - interval '1 minute' FROM insula.tenant"
        assert await node.sql(since)

        async def nobody() -> bool:
            return await node.connections("acme") == 0

        await until(nobody)
        await node.submit("acme")
        assert node.slot("acme").epoch == 2


async def test_the_idle_time_is_the_clocks(database: Database) -> None:
    clock = HandClock()
    declared = snapshot(["acme"], idle_ttl=Duration(seconds=1))
    async with running_node(database, declared, clock=clock) as node:
        await node.submit("acme")
        slot = node.slot("acme")

        await node.until_finished("acme", 1)
        clock.advance(0.5)
        slot.look()
        await anyio.wait_all_tasks_blocked()
        assert slot.state is SlotState.RUNNING
        clock.advance(1.0)
        slot.look()
        await node.reach("acme", SlotState.DORMANT)


async def test_a_running_task_keeps_its_tenant_awake(database: Database) -> None:
    held = gate()
    async with running_node(database, snapshot(["acme"], idle_ttl=Duration(0))) as node:
        await node.hold("acme", held)
        turns = await _looks(node.slot("acme"))
        assert node.slot("acme").state is SlotState.RUNNING
        assert turns < 50, "the supervisor spins while it waits"
        GATES.open(held)
        await node.reach("acme", SlotState.DORMANT)
        assert await node.finished("acme") == 1


async def _looks(slot: Any) -> int:
    """Return how often the supervisor looked around while the loop turned 500 times."""
    turns = 0
    plain = slot.attention

    async def counting() -> None:
        nonlocal turns
        turns += 1
        await plain()

    slot.attention = counting
    for _ in range(500):
        await anyio.lowlevel.checkpoint()
    del slot.attention
    return turns


async def test_mail_that_comes_while_a_tenant_lets_go_is_served(database: Database) -> None:
    async with running_node(database, snapshot(["acme"], idle_ttl=SHORT)) as node:
        await node.submit("acme")
        # The lease can not be given back while somebody else has its row.
        other = await database.connect()
        async with other.transaction():
            await other.execute("SELECT FROM insula.lease WHERE tenant = 'acme' FOR UPDATE")
            await node.reach("acme", SlotState.DRAINING)
            async with anyio.create_task_group() as group:
                group.start_soon(node.submit, "acme")
                await anyio.wait_all_tasks_blocked()
                assert node.slot("acme").has_mail
                await other.execute("ROLLBACK AND CHAIN")
        assert node.slot("acme").epoch == 2

        await node.until_finished("acme", 2)


async def test_a_retry_due_later_wakes_its_dormant_tenant(database: Database) -> None:
    async with running_node(database, snapshot(["acme"], idle_ttl=SHORT)) as node:
        await node.submit("acme", "later")
        await node.reach("acme", SlotState.DORMANT)
        assert await node.sql("SELECT reason FROM insula.wake WHERE tenant = 'acme'") == "timer"

        await node.until_finished("acme", 1)
        assert node.slot("acme").epoch == 2


async def test_the_longest_idle_tenant_makes_room_for_another(database: Database) -> None:
    supervision = SupervisionSection(min_residency=Duration(0))
    declared = snapshot(["one", "two", "three"], supervision=supervision)
    async with running_node(database, declared, max_awake=2) as node:
        for tenant in ("one", "two"):
            await node.submit(tenant)
        await until(lambda: not any(s.engine and s.engine.busy for s in node.root.slots.values()))
        await node.submit("three")
        assert node.slot("one").state is SlotState.DORMANT
        assert node.slot("two").state is SlotState.RUNNING


async def test_a_crowd_that_wants_in_puts_no_more_tenants_to_sleep_than_it_needs(
    database: Database,
) -> None:
    supervision = SupervisionSection(min_residency=Duration(0))
    names = [f"t{number}" for number in range(8)]
    async with running_node(
        database, snapshot([*names, "late"], supervision=supervision), max_awake=8
    ) as node:
        for tenant in names:
            await node.submit(tenant)
        await until(lambda: not any(s.engine and s.engine.busy for s in node.root.slots.values()))
        await node.submit("late")
        asleep = [t for t in names if node.slot(t).state is not SlotState.RUNNING]
        assert asleep == ["t0"]


async def test_work_that_comes_first_takes_an_eviction_back(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.submit("acme")
        slot = node.slot("acme")
        held = gate()
        async with anyio.create_task_group() as group:
            slot.ask_to_stop(Stop.EVICT)
            group.start_soon(lambda: node.submit("acme", "wait", gate=held))
        assert slot.state is SlotState.RUNNING
        assert slot.incarnation == 1
        await until(lambda: GATES.arrived[held] == 1)
        GATES.open(held)


async def test_a_tenant_is_not_evicted_in_its_first_seconds(database: Database) -> None:
    supervision = SupervisionSection(min_residency=Duration(hours=1))
    declared = snapshot(["one", "two"], supervision=supervision)
    async with running_node(database, declared, max_awake=1) as node:
        one, two = node.slot("one"), node.slot("two")
        await node.submit("one")
        await until(lambda: may_sleep(one))
        one.rest()
        node.root.wake(two.config.id)
        await until(lambda: two.waits_for_place)
        # Who wants a place and can have none has asked for room by now.
        assert (one.state, one.stop_wanted) == (SlotState.RUNNING, None)
        assert two.state is SlotState.STARTING


async def test_a_disabled_tenant_takes_nothing_until_it_is_enabled(database: Database) -> None:
    async with running_node(database, snapshot(["acme"], enabled=False)) as node:
        with pytest.raises(TenantSuspended):
            await node.submit("acme")
        await node.declare("acme", enabled=True)
        await node.submit("acme")


async def test_what_is_one_tenants_alone_runs_for_no_other_however_it_came(
    database: Database,
) -> None:
    submit = "SELECT insula.submit($1, 'private')"
    state = "SELECT state FROM tenant_globex.wf_run WHERE workflow = 'private'"
    async with running_node(database, snapshot(["acme", "globex"])) as node:
        await node.submit("acme", "private")
        await node.submit("globex")
        with pytest.raises(WorkflowNotFound, match="of another tenant alone"):
            await node.submit("globex", "private")
        await node.sql(submit, "globex")
        await until(lambda: node.sql(f"SELECT ({state}) = 'blocked'"))
        await node.until_finished("acme", 1)
    assert EXECUTED["acme"]


async def test_what_a_tenant_may_not_run_waits_until_it_may_however_it_came(
    database: Database,
) -> None:
    state = "SELECT state FROM tenant_acme.wf_run WHERE workflow = 'note'"
    async with running_node(database, snapshot(["acme"], workflows=["wait"])) as node:
        await node.submit("acme", "wait", gate="may not run")
        with pytest.raises(WorkflowNotFound, match="may not run"):
            await node.submit("acme")
        await node.sql("SELECT insula.submit('acme', 'note')")
        await until(lambda: node.sql(f"SELECT ({state}) = 'blocked'"))

        await node.declare("acme", workflows=["wait", "note"])
        GATES.open("may not run")
        await node.until_finished("acme", 2)


async def test_an_unknown_tenant_is_not_found(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        with pytest.raises(TenantNotFound):
            await node.submit("globex")


async def test_mail_that_nobody_waits_for_any_more_stores_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervision = SupervisionSection(min_residency=Duration(hours=1))
    declared = snapshot(["one", "two"], supervision=supervision)
    async with running_node(database, declared, max_awake=1) as node:
        await node.submit("one")
        with monkeypatch.context() as patched:
            patched.setattr("supervisors.patience.REPLY_SECONDS", 0.0)
            with pytest.raises(TenantStarting) as told:
                await node.submit("two")
        assert "nothing was stored" in told.value.hint
        with anyio.CancelScope() as goes_away:
            goes_away.cancel()
            await node.submit("two")
        assert node.slot("two").has_mail
        node.slot("one").ask_to_stop(Stop.DRAIN)
        await until(lambda: not node.slot("two").has_mail)
        await node.submit("two")
        assert await node.sql("SELECT count(*) FROM tenant_two.wf_run") == 1


async def test_a_wake_up_at_the_end_of_the_idle_time_is_not_lost(database: Database) -> None:
    clock = HandClock()
    declared = snapshot(["acme"], idle_ttl=Duration(seconds=1))
    async with running_node(database, declared, clock=clock) as node:
        await node.submit("acme")
        await node.until_finished("acme", 1)
        engine = node.slot("acme").engine
        await until(lambda: engine is not None and not engine.busy)
        await node.sql(
            "INSERT INTO tenant_acme.wf_run (id, workflow, version, state, queue, priority, epoch,"
            " tags, input) VALUES (gen_random_uuid(), 'note', '1', 'queued', 'default', 0, 0,"
            " '{}', '{}')"
        )
        clock.advance(5.0)
        assert node.root.wake(TenantId("acme"))
        await node.until_finished("acme", 2)


async def test_a_tenant_that_is_woken_for_nothing_sleeps_again(database: Database) -> None:
    async with running_node(database, snapshot(["acme"], idle_ttl=SHORT)) as node:
        for lives in (1, 2):
            node.root.wake(TenantId("acme"))
            await until(lambda lives=lives: node.slot("acme").epoch == lives)  # type: ignore[misc]
            await node.reach("acme", SlotState.DORMANT)


async def test_a_task_that_cancels_itself_harms_nobody(database: Database) -> None:
    async with running_node(database, snapshot(["acme", "globex"])) as node:
        await node.submit("globex")
        await node.submit("acme", "cancels")

        async def failed() -> bool:
            found: str = await node.sql("SELECT state FROM tenant_acme.wf_run")
            return found == "failed"

        await until(failed)
        assert node.slot("acme").incarnation == 1
        assert node.slot("globex").incarnation == 1


async def test_draining_lets_running_tasks_end(database: Database) -> None:
    held = gate()
    async with running_node(database, snapshot(["acme", "globex"])) as node:
        await node.submit("acme", "wait", gate=held)
        await node.submit("globex")
        await until(lambda: GATES.arrived[held] == 1)
        async with anyio.create_task_group() as group:
            group.start_soon(node.root.drain)
            await node.reach("globex", SlotState.DORMANT)
            assert node.slot("acme").state is SlotState.DRAINING
            GATES.open(held)
        assert node.slot("acme").state is SlotState.DORMANT
        assert await node.finished("acme") == 1
        assert len(EXECUTED["acme"]) >= 1


async def test_a_drain_cuts_short_what_takes_too_long_and_leaves_word(database: Database) -> None:
    supervision = SupervisionSection(drain_timeout=Duration(milliseconds=50))
    held = gate()
    async with running_node(database, snapshot(["acme"], supervision=supervision)) as node:
        await node.hold("acme", held)
        await node.root.drain()
        assert node.slot("acme").state is SlotState.DORMANT
        assert await node.sql("SELECT count(*) FROM insula.wake WHERE due_at <= now()") == 1
        assert await node.sql("SELECT node FROM insula.lease") is None


async def test_what_a_dead_node_left_is_taken_up_without_being_asked(database: Database) -> None:
    held = gate()
    declared = snapshot(["acme"], supervision=SupervisionSection(drain_timeout=Duration(0)))
    async with running_node(database, declared) as node:
        await node.hold("acme", held)
        node.group.cancel_scope.cancel()
    admin = await database.connect()
    assert await admin.fetchval("SELECT node FROM insula.lease") == node.id
    await admin.execute("UPDATE insula.node SET expires_at = '-infinity'")
    GATES.open(held)
    async with running_node(database, declared) as second:
        await second.until_finished("acme", 1)
        assert second.slot("acme").epoch == 2
