"""Two nodes on one database: one serves a tenant at a time, and who lost it writes nothing."""

from __future__ import annotations

import secrets
from datetime import timedelta
from uuid import uuid4

import anyio
import pytest

from orchestrator.model.errors import (
    LeaseHeldElsewhere,
    NodeNameInUse,
    TenantRestarted,
)
from orchestrator.model.ids import TenantId
from orchestrator.settings.duration import Duration
from orchestrator.settings.model import SupervisionSection
from orchestrator.store.control import leases, nodes
from supervisors.keeper import Node as Incarnation
from supervisors.keeper import NodeKeeper
from supervisors.slot import SlotState
from tests.supervisors.nodes import LONG, running_node, snapshot
from tests.supervisors.workflows import GATES
from tests.support.database import Database
from tests.support.due import due_tenants
from tests.support.wait import until

ACME = TenantId("acme")


async def test_only_one_of_two_nodes_serves_a_tenant(database: Database) -> None:
    declared = snapshot(["acme"])
    async with (
        running_node(database, declared, name="a") as a,
        running_node(database, declared, name="b") as b,
    ):
        await a.submit("acme")
        await b.submit("acme")
        assert b.slot("acme").state is SlotState.DORMANT
        await a.until_finished("acme", 2)
        assert (a.slot("acme").incarnation, b.slot("acme").epoch) == (1, None)


async def test_a_tenant_let_go_of_is_free_at_once(database: Database) -> None:
    declared = snapshot(["acme"])
    async with (
        running_node(database, declared, name="a") as a,
        running_node(database, declared, name="b") as b,
    ):
        await a.submit("acme")
        await a.root.drain()
        await b.submit("acme")
        assert b.slot("acme").epoch == 2


async def test_a_dead_nodes_tenant_is_taken_over_and_the_zombie_writes_nothing(
    database: Database,
) -> None:
    held = secrets.token_hex(4)
    declared = snapshot(["acme"])
    async with (
        running_node(database, declared, name="a") as a,
        running_node(database, declared, name="b") as b,
    ):
        await a.hold("acme", held)
        await a.expire()
        await b.reach("acme", SlotState.RUNNING)
        await until(lambda: GATES.arrived[held] == 2)
        with pytest.raises(TenantRestarted):
            await a.submit("acme")
        await a.reach("acme", SlotState.DORMANT)
        assert a.slot("acme").record.crashes == ()
        GATES.open(held)

        await b.until_finished("acme", 1)
        assert await b.sql("SELECT count(*) FROM tenant_acme.wf_run") == 1
        writers = "SELECT count(*) FROM tenant_acme.wf_event WHERE epoch = 2 AND node = 'a'"
        assert await b.sql(writers) == 0


async def test_a_node_that_can_not_have_a_tenant_does_not_ask_without_end(
    database: Database,
) -> None:
    declared = snapshot(["acme"])
    async with (
        running_node(database, declared, name="a") as a,
        running_node(database, declared, name="b") as b,
    ):
        await a.submit("acme")
        before = b.slot("acme").incarnation
        # What makes a dormant tenant look for work, on a node that may not have it.
        b.root.wake(ACME)
        await until(lambda: b.slot("acme").incarnation > before)
        await b.reach("acme", SlotState.DORMANT)
        tried = b.slot("acme").incarnation
        await b.sql("INSERT INTO insula.wake VALUES ('acme', now(), 'submitted')")

        async def told() -> bool:
            return bool(await b.sql("SELECT count(*) FROM insula.wake") == 0)

        await until(told)
        assert b.slot("acme").incarnation <= tried + 1


async def test_what_is_due_for_a_tenant_of_a_living_node_is_that_nodes_business(
    database: Database,
) -> None:
    admin = await database.connect()
    ours, theirs = uuid4(), uuid4()
    for node, name in ((ours, "a"), (theirs, "b")):
        await nodes.register(admin, node, name, LONG)
    for tenant, holder in (("mine", ours), ("theirs", theirs), ("nobodys", None)):
        await admin.execute("INSERT INTO insula.lease VALUES ($1, $2, 1)", tenant, holder)
        await admin.execute("INSERT INTO insula.wake VALUES ($1, now(), 'timer')", tenant)
    await admin.execute("INSERT INTO insula.wake VALUES ('new', now(), 'timer')")
    assert set(await due_tenants(admin, ours)) == {"mine", "nobodys", "new"}
    await admin.execute("UPDATE insula.node SET expires_at = now() WHERE id = $1", theirs)
    assert set(await due_tenants(admin, ours, asleep=[TenantId("new")])) == {
        "mine",
        "nobodys",
        "theirs",
    }


async def test_a_zombies_release_does_not_touch_the_new_owner(database: Database) -> None:
    admin = await database.connect()
    old, new = uuid4(), uuid4()
    for node, name in ((old, "a"), (new, "b")):
        await nodes.register(admin, node, name, LONG)
    epoch = (await leases.claim(admin, ACME, old)).epoch
    with pytest.raises(LeaseHeldElsewhere):
        await leases.claim(admin, ACME, new)
    await admin.execute("UPDATE insula.node SET expires_at = now() WHERE id = $1", old)
    assert await leases.orphans(admin, new) == [ACME]
    assert await leases.claim(admin, ACME, new) == leases.Lease(epoch + 1, False, [])
    moment = await admin.fetchval("SELECT now()")
    await leases.release(admin, ACME, old, epoch, wake_at=moment)
    assert await admin.fetchval("SELECT node FROM insula.lease") == new
    assert await admin.fetchval("SELECT count(*) FROM insula.wake") == 0


async def test_a_node_whose_own_row_expired_waits_for_it_and_keeps_the_mail(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.expire()
        async with anyio.create_task_group() as group:
            group.start_soon(node.submit, "acme")
            await node.reach("acme", SlotState.BACKOFF)
            assert "expired" in (node.slot("acme").last_error or "")
            await nodes.renew(await database.connect(), node.id, LONG)
        assert node.slot("acme").epoch == 1


async def test_the_same_node_takes_its_tenant_again_under_a_new_epoch(database: Database) -> None:
    admin = await database.connect()
    node = uuid4()
    await nodes.register(admin, node, "a", LONG)
    assert [(await leases.claim(admin, ACME, node)).epoch for _ in range(3)] == [1, 2, 3]


async def test_an_earlier_wake_up_is_never_put_off(database: Database) -> None:
    admin = await database.connect()
    node = uuid4()
    await nodes.register(admin, node, "a", LONG)
    epoch = (await leases.claim(admin, ACME, node)).epoch
    await admin.execute("INSERT INTO insula.wake VALUES ('acme', now(), 'submitted')")
    later = await admin.fetchval("SELECT now() + interval '1 hour'")
    await leases.release(admin, ACME, node, epoch, wake_at=later)
    assert await due_tenants(admin, node) == [ACME]
    assert await admin.fetchval("SELECT reason FROM insula.wake") == "submitted"


def keeper(database: Database, name: str = "a", **times: float) -> NodeKeeper:
    chosen = {"expiry": 10.0, "renewal": 0.1, **times}
    return NodeKeeper(Incarnation(uuid4(), name, **chosen), database.target)


ALIVE = "SELECT count(*) FROM insula.node WHERE name = $1 AND expires_at > clock_timestamp()"


async def test_a_node_registers_renews_and_leaves(database: Database) -> None:
    admin = await database.connect()
    kept = keeper(database)
    await kept.start()
    assert await admin.fetchval(ALIVE, "a") == 1
    first = await admin.fetchval("SELECT renewed_at FROM insula.node")

    async def renewed() -> bool:
        return bool(await admin.fetchval("SELECT renewed_at > $1 FROM insula.node", first))

    await until(renewed)
    await kept.stop()
    assert await admin.fetchval("SELECT count(*) FROM insula.node") == 0


async def test_a_living_nodes_name_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisors.naming.LOCK_SECONDS", 0.2)
    kept = keeper(database)
    await kept.start()
    with pytest.raises(NodeNameInUse, match="'a'"):
        await keeper(database).start()
    other = keeper(database, name="b")
    await other.start()
    await other.stop()
    await kept.stop()
    again = keeper(database)
    await again.start()
    await again.stop()


async def test_a_dead_nodes_name_is_free_as_soon_as_its_connection_is_gone(
    database: Database,
) -> None:
    admin = await database.connect()
    dead = uuid4()
    await nodes.register(admin, dead, "a", LONG)
    session = await database.connect()
    assert await nodes.lock(session, "a")
    await leases.claim(admin, ACME, dead)
    async with anyio.create_task_group() as group:
        kept = keeper(database)
        group.start_soon(kept.start)
        session.terminate()
    assert await admin.fetchval(ALIVE, "a") == 1
    assert await leases.orphans(admin, uuid4()) == [ACME]
    await kept.stop()


async def test_who_has_the_name_is_told(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisors.naming.LOCK_SECONDS", 0.2)
    kept = keeper(database)
    await kept.start()
    with pytest.raises(NodeNameInUse, match=r"process \d+ .*'insula a keeper'.*since 20\d\d-"):
        await keeper(database).start()
    await kept.stop()


async def test_a_session_that_nobody_lives_behind_does_not_keep_the_name(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisors.naming.LOCK_SECONDS", 0.2)
    admin = await database.connect()
    stale = await database.connect()
    assert await nodes.lock(stale, "a")
    await nodes.register(admin, uuid4(), "a", timedelta(seconds=0.5))
    kept = keeper(database)
    await kept.start()
    assert await admin.fetchval(ALIVE, "a") == 1
    # The lock is had as soon as it is free.
    stale.terminate()

    async def locked() -> bool:
        holder = await nodes.holder(admin, "a")
        return holder is not None and holder.application == "insula a keeper"

    await until(locked)
    await kept.stop()


async def test_a_tenants_login_can_not_keep_a_name(database: Database) -> None:
    await database.provision("acme")
    for target in (database.as_app("acme"), database.as_engine("acme")):
        attacker = await database.connect(target)
        assert await nodes.lock(attacker, "a")
        kept = keeper(database)
        with anyio.fail_after(2):
            await kept.start()
        await kept.stop()


async def test_only_a_death_that_is_proven_is_told_to_whoever_takes_over(
    database: Database,
) -> None:
    admin = await database.connect()
    ours = uuid4()
    await nodes.register(admin, ours, "b", LONG)

    async def taken_over_from(end: str) -> bool:
        before = uuid4()
        await nodes.register(admin, before, "a", LONG)
        tenant = TenantId(end)
        await leases.claim(admin, tenant, before)
        if end == "stopped":
            await nodes.leave(admin, before)
        elif end == "expired":
            await nodes.renew(admin, before, -LONG)
        else:
            await nodes.bury(admin, uuid4(), "a")
        return (await leases.claim(admin, tenant, ours)).left_by_the_dead

    assert not await taken_over_from("stopped")
    assert not await taken_over_from("expired")
    assert await taken_over_from("buried")


async def test_a_death_is_told_however_late_and_then_forgotten(database: Database) -> None:
    admin = await database.connect()
    ours, before = uuid4(), uuid4()
    for node, name in ((ours, "b"), (before, "a")):
        await nodes.register(admin, node, name, LONG)
    await leases.claim(admin, ACME, before)
    await nodes.bury(admin, uuid4(), "a")
    await admin.execute("UPDATE insula.node SET renewed_at = now() - interval '2 days'")
    await nodes.bury(admin, ours, "b")
    assert (await leases.claim(admin, ACME, ours)).left_by_the_dead
    await nodes.bury(admin, ours, "b")
    assert await admin.fetchval("SELECT count(*) FROM insula.node") == 1


async def cut(database: Database) -> None:
    """End the keeper's connection."""
    admin = await database.connect()
    await admin.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'insula a keeper'"
    )


async def test_a_node_whose_connection_was_cut_comes_back_with_its_name(
    database: Database,
) -> None:
    admin = await database.connect()
    kept = keeper(database)
    await kept.start()
    await cut(database)

    async def locked_again() -> bool:
        query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        found: int = await admin.fetchval(
            query
            + " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return found == 1

    await until(locked_again)
    await admin.execute("UPDATE insula.node SET expires_at = clock_timestamp()")

    async def alive() -> bool:
        return bool(await admin.fetchval(ALIVE, "a") == 1)

    await until(alive)
    await kept.stop()


async def test_a_server_that_does_not_answer_costs_the_node_its_standing_until_it_does(
    database: Database,
) -> None:
    kept = keeper(database, expiry=0.8, renewal=0.1)
    await kept.start()
    standing = kept.standing
    term = standing.term
    frozen = await database.connect()
    async with frozen.transaction():
        await frozen.execute("SELECT FROM insula.node FOR UPDATE")
        await until(lambda: standing.outage is not None)
        assert standing.holds
        assert not standing.serves
        await until(lambda: not standing.holds)
    await until(lambda: standing.serves)
    assert standing.term == term + 1
    assert not standing.steady
    await kept.stop()


async def test_who_doubts_that_the_database_is_there_learns_it_before_the_next_renewal(
    database: Database,
) -> None:
    kept = keeper(database, expiry=600.0, renewal=300.0)
    await kept.start()
    words = kept.standing.words
    for _ in range(100):
        kept.standing.doubt()
    await until(lambda: kept.standing.words == words + 1, within=2.0)
    await kept.stop()
    assert kept.standing.words == words + 1


async def test_a_node_that_was_declared_dead_ends_and_says_so(database: Database) -> None:
    admin = await database.connect()
    kept = keeper(database)
    await kept.start()
    await nodes.bury(admin, uuid4(), "a")
    with pytest.raises(NodeNameInUse, match="declared dead"):
        await kept.watch()
    assert await admin.fetchval(ALIVE, "a") == 0
    await kept.stop()


async def test_a_keeper_that_fails_is_noticed(database: Database) -> None:
    admin = await database.connect()
    kept = keeper(database)
    await kept.start()
    await admin.execute("DROP TABLE insula.node")
    with pytest.raises(Exception, match="node"):
        await kept.watch()
    await kept.stop()


async def test_a_drained_node_takes_over_nothing(database: Database) -> None:
    supervision = SupervisionSection(drain_timeout=Duration(0))
    async with running_node(database, snapshot(["acme"], supervision=supervision)) as node:
        await node.root.drain()
        await node.sql("INSERT INTO insula.wake VALUES ('acme', now(), 'submitted')")
        node.root.wake(ACME)
        assert node.slot("acme").state is SlotState.DORMANT
