"""Several nodes share the tenants, and nothing that reaches the wrong one is lost."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from orchestrator.engine.control import Verb
from orchestrator.model.api import StartRun
from orchestrator.model.errors import (
    InvalidInput,
    LeaseHeldElsewhere,
    LockNotHad,
    QuotaExceeded,
    TenantSuspended,
    WorkflowNotFound,
)
from orchestrator.model.ids import TenantId
from orchestrator.model.states import RunState
from orchestrator.settings.duration import Duration
from orchestrator.settings.model import Limits, SupervisionSection
from orchestrator.store.control import nodes
from supervisors.preference import preferred
from supervisors.root import RootSupervisor
from supervisors.slot import SlotState
from tests.store.submitting import submit
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.workflows import GATES
from tests.support.database import Database
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

ACME = TenantId("acme")
"""Node a is best for it, of a and b."""

OTHER = TenantId("t1")
"""The same."""

RUNS = "SELECT count(*) FROM tenant_acme.wf_run"


@asynccontextmanager
async def two_nodes(database: Database, **common: Any) -> AsyncIterator[tuple[Node, Node]]:
    """Run nodes a and b, which have seen each other; `common` is said of the tenant."""
    declared = snapshot(
        ["acme"], supervision=SupervisionSection(min_residency=Duration(0)), **common
    )
    async with (
        running_node(database, declared, name="a") as a,
        running_node(database, declared, name="b") as b,
    ):
        await until(lambda: not a.root.neighbours.alone and not b.root.neighbours.alone)
        yield a, b


@pytest.fixture(autouse=True)
def soon_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a tenant's best node have half a second to take it."""
    monkeypatch.setattr("orchestrator.store.control.wake.OVERDUE", timedelta(seconds=0.5))


def test_which_of_the_nodes_is_best_for_the_tenants_of_these_tests() -> None:
    assert {preferred(tenant, ["a", "b"]) for tenant in (ACME, OTHER)} == {"a"}


async def test_a_run_that_reaches_the_wrong_node_is_stored_and_run_by_the_right_one(
    database: Database,
) -> None:
    async with two_nodes(database) as (a, b):
        started = await b.submit("acme")
        assert (started.state, started.known) == (RunState.QUEUED, False)
        assert b.slot("acme").incarnation == 0
        await a.until_finished("acme", 1)
        assert (a.slot("acme").epoch, b.slot("acme").incarnation) == (1, 0)


async def test_whoever_has_the_lease_serves_whatever_is_preferred(database: Database) -> None:
    held = secrets.token_hex(4)
    declared = snapshot(["acme"])
    async with running_node(database, declared, name="b") as b:
        await b.hold("acme", held)
        async with running_node(database, declared, name="a") as a:
            started = await a.submit("acme")
            await until(lambda: _state(b, started.id, "succeeded"))
            assert (a.slot("acme").incarnation, b.slot("acme").epoch) == (0, 1)
            with pytest.raises(LeaseHeldElsewhere, match="node 'b'") as refusal:
                await a.root.change_run(ACME, started.id, Verb.PAUSE, "")
            assert "ask the node" in refusal.value.hint
            GATES.open(held)


async def _state(node: Node, run: object, state: str) -> bool:
    query = "SELECT state FROM tenant_acme.wf_run WHERE id = $1"
    return bool(await node.sql(query, run) == state)


async def test_mail_that_is_refused_because_another_node_was_faster_is_stored_all_the_same(
    database: Database,
) -> None:
    # Neither has seen the other yet: both try for the lease, and one gets it.
    declared = snapshot(["acme"])
    async with (
        running_node(database, declared, name="a") as a,
        running_node(database, declared, name="b") as b,
    ):
        async with anyio.create_task_group() as group:
            for node in (a, b) * 5:
                group.start_soon(node.submit, "acme")
        await a.until_finished("acme", 10)
        assert await a.sql("SELECT epoch FROM insula.lease") == 1


async def test_the_same_key_is_the_same_run_on_every_node(database: Database) -> None:
    async with two_nodes(database) as (a, b):
        first = await b.submit("acme", key="once")
        again = await b.submit("acme", key="once")
        await a.until_finished("acme", 1)
        late = await b.submit("acme", key="once")
        owned = await a.submit("acme", key="once")
        assert {each.id for each in (again, late, owned)} == {first.id}
        assert (again.known, late.known, owned.known) == (True, True, True)
        assert late.state is RunState.SUCCEEDED
        twins = [StartRun(workflow="note", key="twin") for _ in range(2)]
        one, other = await b.root.submit(ACME, twins)
        assert (one.id, one.known, other.known) == (other.id, False, True)


async def test_a_key_that_an_open_transaction_holds_is_refused_by_the_wrong_node_too(
    database: Database,
) -> None:
    application = await database.connect()
    async with two_nodes(database) as (_, b):
        await b.submit("acme")
        async with application.transaction():
            await submit(application, "acme", "note", key="mine")
            with (
                anyio.fail_after(30),
                pytest.raises(LockNotHad, match="the key 'mine' of") as refusal,
            ):
                await b.submit("acme", key="mine")
            assert refusal.value.retry_after == 5
            await b.submit("acme", key="other")


async def test_what_is_wrong_with_a_request_the_wrong_node_says_too(database: Database) -> None:
    limits = Limits(max_queue_length=2, max_runs_per_hour=5)
    async with two_nodes(database, limits=limits) as (_, b):
        with pytest.raises(WorkflowNotFound):
            await b.submit("acme", "nothing_of_that_name")
        with pytest.raises(InvalidInput):
            await b.submit("acme", "wait", gate=3)
        with pytest.raises(QuotaExceeded, match="3 more are too many"):
            await b.root.submit(ACME, [StartRun(workflow="note")] * 3)
        assert await b.sql(RUNS) == 0
        later = datetime.now(UTC) + timedelta(hours=1)
        keyed = StartRun(workflow="note", at=later, key="k")
        runs = [keyed, StartRun(workflow="note", at=later)]
        first, _ = await b.root.submit(ACME, runs)
        await b.root.submit(ACME, [StartRun(workflow="note", at=later)] * 2)
        with pytest.raises(QuotaExceeded, match="max_runs_per_hour"):
            await b.root.submit(ACME, [*runs, StartRun(workflow="note")])
        again, *_ = await b.root.submit(ACME, [keyed, keyed])
        assert (again.id, again.known) == (first.id, True)
        assert await b.sql(RUNS) == 4
        assert await b.sql("SELECT min(due_at) FROM insula.wake") == later


async def test_of_many_at_once_the_wrong_node_takes_as_many_as_the_limit_allows(
    database: Database,
) -> None:
    refused = 0

    async def start(node: Node) -> None:
        nonlocal refused
        try:
            await node.submit("acme")
        except QuotaExceeded:
            refused += 1

    limits = Limits(max_runs_per_hour=4)
    async with two_nodes(database, limits=limits) as (_, b):
        async with anyio.create_task_group() as group:
            for _ in range(12):
                group.start_soon(start, b)

        assert (await b.sql(RUNS), refused) == (4, 8)


async def test_a_tenant_that_takes_nothing_takes_nothing_on_the_wrong_node_either(
    database: Database,
) -> None:
    async with two_nodes(database) as (_, b):
        await b.declare("acme", enabled=False)
        with pytest.raises(TenantSuspended):
            await b.submit("acme")


async def test_a_node_that_joins_takes_idle_tenants_first_and_busy_ones_when_they_are_idle(
    database: Database,
) -> None:
    held = secrets.token_hex(4)
    supervision = SupervisionSection(min_residency=Duration(0))
    declared = snapshot(["acme", "t1"], supervision=supervision, idle_ttl=Duration(hours=1))
    async with running_node(database, declared, name="b") as b:
        await b.submit("acme")
        await b.hold("t1", held)
        async with running_node(database, declared, name="a") as a:
            await b.reach("acme", SlotState.DORMANT)
            assert b.slot("t1").state is SlotState.RUNNING
            await b.submit("acme")
            await a.until_finished("acme", 2)
            assert a.slot("acme").epoch == 2

            GATES.open(held)
            await b.reach("t1", SlotState.DORMANT)
            assert await a.finished("t1") == 1
            assert b.slot("t1").record.crashes == ()


async def test_a_tenant_that_the_best_node_does_not_take_is_taken_by_another(
    database: Database,
) -> None:
    async with two_nodes(database) as (a, b):
        await a.declare()  # the files of the two differ
        await b.submit("acme")
        await b.until_finished("acme", 1)
        assert b.slot("acme").epoch == 1


async def test_a_node_that_drains_hands_over_at_once_and_gets_nothing_more(
    database: Database,
) -> None:
    held = secrets.token_hex(4)
    async with two_nodes(database) as (a, b):
        await a.hold("acme", held)
        async with anyio.create_task_group() as group:
            group.start_soon(a.root.drain)
            await until(lambda: a.slot("acme").state is SlotState.DRAINING)
            assert await nodes.live(await database.connect()) == ["b"]
            GATES.open(held)
        await until(lambda: b.root.neighbours.alone)
        await b.submit("acme")
        assert b.slot("acme").epoch == 2
        await b.until_finished("acme", 2)


async def test_a_node_that_is_alone_asks_one_thing_at_a_look(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisors.wake.ORPHAN_TURNS", 1000)
    monkeypatch.setattr("supervisors.wake.POLL_SECONDS", 0.01)
    looks, probe = 0, RootSupervisor.probe

    def look(root: RootSupervisor) -> None:
        nonlocal looks
        looks += 1
        probe(root)

    monkeypatch.setattr(RootSupervisor, "probe", look)
    async with CuttingProxy(database.target).running() as way:
        database.target = way.target
        async with running_node(database, snapshot(["acme"])):
            await until(lambda: looks > 1)
            before = way.statements - looks
            await until(lambda: looks > 20)
            assert way.statements - looks <= before + 1


async def test_the_tenants_of_a_dead_node_are_shared_out_among_those_that_live(
    database: Database,
) -> None:
    admin = await database.connect()
    names = [f"t{number}" for number in range(6)]
    declared = snapshot(names)
    async with (
        running_node(database, declared, name="a") as a,
        running_node(database, declared, name="b") as b,
    ):
        await until(lambda: not a.root.neighbours.alone and not b.root.neighbours.alone)
        for tenant in names:
            await a.tenants.prepare(TenantId(tenant))
            await admin.execute(
                "INSERT INTO insula.lease VALUES ($1, gen_random_uuid(), 1)", tenant
            )
        for tenant in names:
            best = a if preferred(TenantId(tenant), ["a", "b"]) == "a" else b
            await best.reach(tenant, SlotState.RUNNING)
