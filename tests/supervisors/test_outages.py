"""Outages of real servers: all that was accepted is served afterwards, and few ask meanwhile."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest

from orchestrator.daemon.errands import Errands
from orchestrator.daemon.statistics import TenantStatistics
from orchestrator.daemon.usage import Usages
from orchestrator.model.errors import (
    DatabaseFull,
    DatabaseUnavailable,
    TenantRestarted,
    Unavailable,
)
from orchestrator.model.figures import FiguresOrder
from orchestrator.model.ids import TenantId
from orchestrator.settings.load import Snapshot
from supervisors.keeper import Node as Incarnation
from supervisors.keeper import NodeKeeper
from supervisors.slot import SlotState
from supervisors.standing import Standing
from supervisors.starts import AT_ONCE
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.workflows import GATES
from tests.support.database import Database, Databases
from tests.support.proxy import CuttingProxy
from tests.support.server import OwnServer, own_server, reachable_directory
from tests.support.wait import until

TENANTS = ["acme", "globex", "initech"]


@asynccontextmanager
async def kept_node(database: Database, declared: Snapshot, **parts: Any) -> AsyncIterator[Node]:
    """Run a node whose keeper is the real one."""
    itself = Incarnation(uuid4(), "a", expiry=60.0, renewal=5.0)
    keeper = NodeKeeper(itself, database.target)
    await keeper.start()
    try:
        async with running_node(
            database, declared, kept=itself.id, standing=keeper.standing, **parts
        ) as node:
            yield node
    finally:
        await keeper.stop()


@dataclass
class Load:
    """Callers that start runs one after the other; whoever is told to try again does."""

    node: Node
    accepted: dict[str, set[UUID]] = field(default_factory=lambda: defaultdict(set))

    @asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        """Keep calling while the body runs, and for one more run that is accepted each."""
        async with anyio.create_task_group() as group:
            over = anyio.Event()
            for tenant in TENANTS:
                group.start_soon(self._call, tenant, over)
            await self.some_more()
            yield
            await self.some_more()
            over.set()

    async def some_more(self) -> None:
        """Return when each tenant has accepted another two."""
        before = {tenant: len(self.accepted[tenant]) for tenant in TENANTS}
        await until(
            lambda: all(len(self.accepted[t]) >= n + 2 for t, n in before.items()),
            within=30.0,
            what=f"every tenant takes runs: {self.node.root.states}",
        )

    async def _call(self, tenant: str, over: anyio.Event) -> None:
        for number in count():
            if over.is_set():
                return
            run = None
            while run is None:
                run = await self._start(tenant, f"call {number}")
            self.accepted[tenant].add(run)

    async def _start(self, tenant: str, key: str) -> UUID | None:
        try:
            return (await self.node.submit(tenant, key=key)).id
        except (Unavailable, TenantRestarted) as error:
            await anyio.sleep(min(0.05, error.data.get("retry_after", 0.05)))
            return None

    async def is_served(self) -> None:
        """Assert that each accepted run succeeds, and no other of its key; that nothing crashed."""
        for tenant, runs in self.accepted.items():
            await self.node.until_finished(tenant, len(runs))
            stored = await self.node.sql(
                f"SELECT array_agg(id) FROM tenant_{tenant}.wf_run WHERE state = 'succeeded'"
            )
            assert set(stored) == runs
            assert self.node.slot(tenant).record.crashes == ()


async def terminate(node: Node, who: str) -> None:
    """End the connections whose application's name is like `who`, but not the one that asks."""
    await node.sql(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        " AND application_name LIKE $1",
        who,
    )


@pytest.mark.parametrize("who", ["insula a acme", "insula a keeper", "insula a%"])
async def test_connections_that_an_administrator_ends_cost_no_run(
    database: Database, who: str
) -> None:
    async with kept_node(database, snapshot(TENANTS)) as node:
        load = Load(node)
        async with load.under_way():
            for _ in range(3):
                await terminate(node, who)
        await load.is_served()
        assert {node.slot(tenant).incarnation for tenant in TENANTS} == {1}


async def test_a_password_that_is_changed_under_load_is_mended(database: Database) -> None:
    async with kept_node(database, snapshot(TENANTS)) as node:
        load = Load(node)
        async with load.under_way():
            for role in (database.logins("acme").engine, database.logins("acme").app):
                await node.sql(f"ALTER ROLE {role} PASSWORD 'another'")
            await terminate(node, "insula a%acme")
        await load.is_served()
        assert {node.slot(tenant).incarnation for tenant in TENANTS} == {1}


@pytest.mark.slow
async def test_a_crowd_costs_a_dead_server_one_probe_an_interval(database: Database) -> None:
    names = [f"t{number}" for number in range(500)]
    async with AsyncExitStack() as stack:
        way = await stack.enter_async_context(CuttingProxy(database.target).running())
        database.target = way.target
        node = await stack.enter_async_context(
            kept_node(database, snapshot(names), max_awake=len(names))
        )
        standing = node.ground.standing
        way.go_away()
        before = way.connections
        async with anyio.create_task_group() as group:
            group.start_soon(_is_refused, node)
            for name in names:
                node.root.wake(TenantId(name))
            await until(lambda: standing.outage is not None)
        # Those at the gate, the waker, and the keeper that they called.
        assert way.connections - before <= AT_ONCE + 2
        await until(lambda: node.root.states.get(SlotState.BACKOFF) == len(names))
        before, words = way.connections, standing.words
        await until(lambda: standing.words >= words + 2)
        assert way.connections - before <= standing.words - words + 1
        with pytest.raises(
            DatabaseUnavailable, match=r"connection was closed|has not answered"
        ) as refusal:
            await node.submit("t0")
        assert refusal.value.retry_after > 0
        way.come_back()
        await until(lambda: SlotState.BACKOFF not in node.root.states)
        assert {node.slot(name).record.crashes for name in names} == {()}
        await node.declare()


async def _is_refused(node: Node) -> None:
    """Ask before anybody knows; the answer comes when the keeper does."""
    with anyio.fail_after(3), pytest.raises(DatabaseUnavailable):
        await node.submit("t1")


@asynccontextmanager
async def on_own_server(**settings: str) -> AsyncIterator[tuple[OwnServer, Database]]:
    """Yield a server of the test's own and a database there."""
    with reachable_directory() as directory:
        async with (
            own_server(Path(directory) / "server", settings) as (server, target),
            Databases(target).lend() as database,
        ):
            yield server, database


@pytest.mark.slow
async def test_a_server_restarted_in_immediate_mode_costs_no_run_and_no_crash() -> None:
    async with (
        on_own_server() as (server, database),
        kept_node(database, snapshot(TENANTS)) as node,
    ):
        load = Load(node)
        async with load.under_way():
            for _ in range(2):
                await server.crash()
                await until(lambda: node.ground.standing.outage is not None)
                await server.start()
                await until(lambda: node.ground.standing.serves)
                await load.some_more()
        await load.is_served()


@asynccontextmanager
async def full_to_all(node: Node) -> AsyncIterator[None]:
    """Let no login of a tenant connect, as on a server whose connections are all taken."""
    name = await node.sql("SELECT current_database()")
    await node.sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0')
    try:
        yield
    finally:
        await node.sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1')


async def test_a_full_server_is_tried_by_one_tenant_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisors.breaker.PROBE_SECONDS", 3600.0)
    names = [f"t{number}" for number in range(AT_ONCE + 2)]
    async with running_node(database, snapshot(names)) as node:
        breaker = node.ground.breaker
        async with full_to_all(node):
            for name in names:
                node.root.wake(TenantId(name))
            await until(lambda: node.root.states.get(SlotState.BACKOFF) == len(names))
            assert "has no room" in str(breaker.full)
            before = lives_of(node)
            for probe in range(1, 4):
                breaker.let_one_through()
                await until(lambda: lives_of(node) > before + probe - 1)  # noqa: B023
                await until(lambda: node.root.states.get(SlotState.BACKOFF) == len(names))
            with pytest.raises(DatabaseFull, match="has no room") as refusal:
                await node.submit("t0")
            assert "nothing was stored" in refusal.value.hint
            assert lives_of(node) == before + 3
        breaker.let_one_through()
        await until(lambda: node.root.states.get(SlotState.RUNNING) == len(names))
        assert breaker.full is None
        assert {node.slot(name).record.crashes for name in names} == {()}


def lives_of(node: Node) -> int:
    """Return how many supervisors there have been."""
    return sum(slot.incarnation for slot in node.root.slots.values())


async def test_a_tenant_at_the_limit_of_its_own_login_closes_the_server_to_nobody(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme", "globex"])) as node:
        await node.tenants.prepare(TenantId("acme"))
        words = node.ground.standing.words
        await node.sql(f"ALTER ROLE {database.logins('acme').engine} CONNECTION LIMIT 0")
        node.root.wake(TenantId("acme"))
        await node.reach("acme", SlotState.BACKOFF)
        assert "too many connections for role" in (node.slot("acme").last_error or "")
        assert node.ground.breaker.full is None
        await node.submit("globex")
        await node.sql(f"ALTER ROLE {database.logins('acme').engine} CONNECTION LIMIT -1")
        await node.reach("acme", SlotState.RUNNING)
        assert node.ground.standing.words <= words + node.slot("acme").incarnation


@pytest.mark.parametrize("trouble", ["away", "full"])
async def test_tasks_do_not_try_a_server_that_is_known_to_have_no_connection_for_them(
    database: Database, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    held, asked, check = secrets.token_hex(4), 0, Standing.check

    def ask(standing: Standing) -> None:
        nonlocal asked
        asked += 1
        check(standing)

    monkeypatch.setattr("supervisors.breaker.PROBE_SECONDS", 3600.0)
    monkeypatch.setattr(Standing, "check", ask)
    async with running_node(database, snapshot(["acme"])) as node:
        await node.submit("acme", "asks", gate=held)
        await until(lambda: GATES.arrived[held] == 1)
        standing, asked = node.ground.standing, 0
        if trouble == "away":
            standing.lost("gone")
        else:
            node.ground.breaker.trip(DatabaseFull("no room"))
        GATES.open(held)
        await until(lambda: asked > 2)
        assert await node.connections("acme") == 1
        standing.renewed(standing.now())
        node.ground.breaker.close()
        await node.until_finished("acme", 1)
        assert await node.connections("acme") == 2


async def fill(database: Database) -> None:
    """Take every connection that is not the superuser's alone."""
    await (await database.connect()).execute(f"CREATE ROLE {database.role_prefix}_hog LOGIN")
    hog = database.target.as_role(f"{database.role_prefix}_hog", "")
    with suppress(DatabaseUnavailable):
        while True:
            await database.connect(hog)


async def leave(database: Database) -> None:
    """Give them back."""
    await (await database.connect()).execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename LIKE '%\\_hog'"
    )


@pytest.mark.slow
async def test_a_server_without_a_free_connection_is_waited_for() -> None:
    async with (
        on_own_server(max_connections="30") as (_, database),
        kept_node(database, snapshot([*TENANTS, "asleep"])) as node,
    ):
        load = Load(node)
        async with load.under_way():
            await fill(database)
            await terminate(node, "insula a acme")
            node.root.wake(TenantId("asleep"))
            await node.reach("asleep", SlotState.BACKOFF)
            assert "connection slots" in (node.slot("asleep").last_error or "")
            await leave(database)
        await load.is_served()
        await node.reach("asleep", SlotState.RUNNING)
        assert node.slot("asleep").record.crashes == ()


async def test_what_only_the_control_schema_knows_is_refused_while_it_is_known_to_be_silent(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        acme, standing, now = TenantId("acme"), node.ground.standing, datetime.now(UTC)
        usages, tomorrow = Usages(node.root, node.tenants.shards, standing), now + timedelta(days=1)
        figures = TenantStatistics(node.tenants, Errands(node.tenants.shards), list, standing)
        questions: list[Callable[[], Awaitable[object]]] = [
            lambda: node.audit.read(acme, limit=1, cursor=None),
            lambda: usages.of_tenant("acme", now, tomorrow, "day"),
            lambda: usages.page(now, tomorrow, "day", limit=1, cursor=None),
            lambda: figures.overview(order=FiguresOrder.ID, limit=None),
        ]
        standing.lost("no answer in time")
        for ask in questions:
            with pytest.raises(DatabaseUnavailable, match="has not answered since"):
                await ask()
        standing.found()
        for ask in questions:
            await ask()
