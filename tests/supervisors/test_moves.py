"""Moving a tenant between databases: all of it arrives, or it stays; the old copy is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from msgspec import structs

from orchestrator.daemon.arrivals import Arrivals
from orchestrator.daemon.errands import Errands
from orchestrator.daemon.moves import TenantMoves
from orchestrator.lifecycle import arrival
from orchestrator.model.api import CreateTenant
from orchestrator.model.errors import (
    CopyKept,
    DatabaseUnavailable,
    InvalidRequest,
    MoveFailed,
    NoCopyKept,
    TenantHeld,
    TenantInUse,
)
from orchestrator.model.ids import TenantId
from orchestrator.model.moves import MovedTenant, MoveTenant
from orchestrator.model.progress import Progress
from orchestrator.settings.shards import ShardConfig
from orchestrator.store.connect import Target
from orchestrator.store.shards import Place
from tests.supervisors.nodes import SHORT_DRAIN, Node, running_node, snapshot
from tests.supervisors.test_lifecycle import archives, lifecycle
from tests.supervisors.test_shards import admin_of, home, succeeded
from tests.supervisors.workflows import GATES
from tests.support.database import Database
from tests.support.server import own_server
from tests.support.wait import until

__all__ = ["home"]

ACME = TenantId("acme")
ROWS = "SELECT count(*) FROM tenant_acme.wf_run"
SCHEMAS = (
    "SELECT array_agg(nspname ORDER BY 1) FROM pg_namespace WHERE nspname ~ '^(tenant|moved)_'"
)


def moves(node: Node, state_dir: Path) -> TenantMoves:
    """Return the verb as the daemon wires it."""
    return TenantMoves(
        lifecycle(node, state_dir),
        archives(node, state_dir),
        node.holds,
        Errands(node.tenants.shards),
    )


@asynccontextmanager
async def used(database: Database, shard: ShardConfig) -> AsyncIterator[Node]:
    """Run a node with tenant acme beside the control schema, which has done one run."""
    declared = snapshot(["acme"], shards=[shard])
    async with running_node(database, declared, shards=[shard]) as node:
        await node.submit("acme")
        await node.until_finished("acme", 1)
        yield node


@asynccontextmanager
async def moved(
    database: Database, shard: ShardConfig, state_dir: Path
) -> AsyncIterator[tuple[Node, TenantMoves]]:
    """Run such a node whose tenant was moved to the shard; the copy of before is kept."""
    async with used(database, shard) as node:
        verb = moves(node, state_dir)
        await verb.run(ACME, MoveTenant(to="eu"))
        yield node, verb


@pytest.mark.requirement("T6.moved")
async def test_a_tenant_arrives_with_all_it_had_and_works_there(
    database: Database, home: ShardConfig, tmp_path: Path
) -> None:
    async with used(database, home) as node:
        told = await moves(node, tmp_path).run(ACME, MoveTenant(to="eu"))
        await node.submit("acme")
        there = await admin_of(database, home)
        await succeeded(there, 2)

        assert (told.shard, told.kept_on, told.rows > 3) == ("eu", "control", True)
        assert await node.sql(SCHEMAS) == ["moved_acme"]
        assert await there.fetchval(SCHEMAS) == ["tenant_acme"]
        assert node.slot("acme").config.shard == "eu"


async def test_it_comes_home_again_by_a_second_move_once_the_first_is_confirmed(
    database: Database, home: ShardConfig, tmp_path: Path
) -> None:
    async with moved(database, home, tmp_path) as (node, verb):
        with pytest.raises(CopyKept, match="keeps a copy"):
            await verb.run(ACME, MoveTenant(to="control"))
        confirmed = [await verb.run(ACME, MoveTenant(confirm=True)) for _ in range(2)]
        assert confirmed[0] == confirmed[1] == MovedTenant(tenant="acme", shard="eu")
        assert await node.sql(SCHEMAS) is None
        await node.submit("acme")
        await succeeded(await admin_of(database, home), 2)

        await verb.run(ACME, MoveTenant(to="control"))
        await verb.run(ACME, MoveTenant(confirm=True))

        await node.submit("acme")
        await node.until_finished("acme", 3)
        own = await node.sql("SELECT count(*) FROM pg_database WHERE datname ~ '_t_acme$'")
        assert own == 0


async def test_back_returns_to_the_old_copy_when_nothing_happened_since(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with used(database, shard) as node:
        verb = moves(node, tmp_path)
        with pytest.raises(NoCopyKept):
            await verb.run(ACME, MoveTenant(back=True))
        await verb.run(ACME, MoveTenant(to="eu"))

        back = await verb.run(ACME, MoveTenant(back=True))

        assert (back.shard, back.kept_on) == ("control", "eu")
        assert await node.sql(SCHEMAS) == ["tenant_acme"]
        await node.submit("acme")
        await node.until_finished("acme", 2)


async def test_back_does_not_give_up_what_was_done_since_unless_forced(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with moved(database, shard, tmp_path) as (node, verb):
        await node.submit("acme")
        await succeeded(await admin_of(database, shard), 2)

        with pytest.raises(MoveFailed, match="not the same"):
            await verb.run(ACME, MoveTenant(back=True))
        assert node.slot("acme").config.shard == "eu"
        await verb.run(ACME, MoveTenant(back=True, force=True))

        assert await node.sql(ROWS) == 1


async def test_a_run_under_way_keeps_it_and_goes_on_at_the_target_when_forced(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with used(database, shard) as node:
        verb, gate = moves(node, tmp_path), "moves"
        await node.hold("acme", gate)
        with pytest.raises(TenantInUse, match="1 unfinished run"):
            await verb.run(ACME, MoveTenant(to="eu"))
        assert await node.sql(SCHEMAS) == ["tenant_acme"]
        GATES.open(gate)

        await verb.run(ACME, MoveTenant(to="eu", force=True))

        await succeeded(await admin_of(database, shard), 2)


async def test_a_tenant_that_was_never_used_moves_by_its_row_alone(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"], shards=[shard]), shards=[shard]) as node:
        verb = moves(node, tmp_path)
        with pytest.raises(InvalidRequest, match="no shard 'us' is configured"):
            await verb.run(ACME, MoveTenant(to="us"))
        told = await verb.run(ACME, MoveTenant(to="eu"))

        assert told == MovedTenant(tenant="acme", shard="eu")
        await node.submit("acme")
        await succeeded(await admin_of(database, shard), 1)


async def test_what_comes_first_while_it_waits_for_its_turn_moves_along(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"], shards=[shard]), shards=[shard]) as node:
        turn = anyio.Lock()
        verb = replace(moves(node, tmp_path), _alone=turn)
        async with turn:
            move = asyncio.create_task(verb.run(ACME, MoveTenant(to="eu")))
            await until(lambda: turn.statistics().tasks_waiting == 1, what="it waits")
            await node.submit("acme")
            await node.until_finished("acme", 1)

        assert (await move).kept_on == "control"
        assert await (await admin_of(database, shard)).fetchval(ROWS) == 1


async def test_a_confirmation_drops_nothing_under_a_move_back(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with moved(database, shard, tmp_path) as (node, verb):
        confirmations: list[asyncio.Task[MovedTenant]] = []

        def confirm(progress: Progress) -> None:
            if progress.phase == "switching":
                confirming = verb.run(ACME, MoveTenant(confirm=True))
                confirmations.append(asyncio.create_task(confirming))

        back = await verb.run(ACME, MoveTenant(back=True), report=confirm)
        with pytest.raises(TenantHeld, match="held for move back"):
            await confirmations[0]

        assert (back.shard, back.kept_on) == ("control", "eu")
        await node.submit("acme")
        await node.until_finished("acme", 2)


async def test_back_does_not_lead_to_a_copy_that_a_killed_confirmation_has_dropped(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with moved(database, shard, tmp_path) as (node, verb):
        await (await database.connect()).execute("DROP SCHEMA moved_acme CASCADE")

        with pytest.raises(MoveFailed, match="nothing of tenant 'acme' is there as 'moved_acme'"):
            await verb.run(ACME, MoveTenant(back=True, force=True))

        await verb.run(ACME, MoveTenant(confirm=True))
        await node.submit("acme")
        await succeeded(await admin_of(database, shard), 2)


async def test_what_a_killed_move_left_under_its_name_is_set_aside_by_the_next_node(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with moved(database, shard, tmp_path) as (node, verb):
        await (await database.connect()).execute("ALTER SCHEMA moved_acme RENAME TO tenant_acme")

        await verb.resume()

        assert await node.sql(SCHEMAS) == ["moved_acme"]


async def test_a_shard_that_is_away_leaves_the_tenant_where_it_was(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    away = structs.replace(shard, url="postgresql://nobody@127.0.0.1:1/none")
    async with used(database, away) as node:
        with pytest.raises(DatabaseUnavailable, match="'eu'"):
            await moves(node, tmp_path).run(ACME, MoveTenant(to="eu"))

        await node.submit("acme")
        await node.until_finished("acme", 2)
        assert await node.sql(SCHEMAS) == ["tenant_acme"]


async def test_a_moved_tenant_is_deleted_with_what_is_kept_of_it(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([], shards=[shard]), shards=[shard]) as node:
        await node.tenants.register(CreateTenant(id="acme"))
        await node.submit("acme")
        await node.until_finished("acme", 1)
        await moves(node, tmp_path).run(ACME, MoveTenant(to="eu"))

        await lifecycle(node, tmp_path).delete("acme", keep=False)

        assert await node.sql(SCHEMAS) is None
        assert (
            await node.sql(
                "SELECT count(*) FROM pg_roles WHERE rolname ^@ $1", f"{database.role_prefix}_"
            )
            == 0
        )


@pytest.mark.parametrize("to", ["eu", "control"])
async def test_a_move_that_fails_leaves_nothing_where_it_was_to_go(
    database: Database, home: ShardConfig, tmp_path: Path, to: str
) -> None:
    def fails(progress: Progress) -> None:
        if progress.phase == "comparing":
            raise MoveFailed("acme", "as the test says")

    async with running_node(database, snapshot([], shards=[home]), shards=[home]) as node:
        lives = "control" if to == "eu" else "eu"
        await node.tenants.register(CreateTenant(id="acme", set={"shard": lives}))
        await node.tenants.prepare(ACME)

        with pytest.raises(MoveFailed, match="as the test says"):
            await moves(node, tmp_path).run(ACME, MoveTenant(to=to), report=fails)

        shards = node.tenants.shards
        place = Place(ACME, to)
        if await shards.is_there(place):
            async with shards.lend(place) as there:
                assert await there.fetchval(SCHEMAS) is None
        await node.submit("acme")


@pytest.mark.parametrize("to", ["eu", "control"])
async def test_what_has_arrived_when_a_node_died_goes_with_the_tenant_or_at_the_next_start(
    database: Database, home: ShardConfig, tmp_path: Path, to: str
) -> None:
    async with running_node(database, snapshot([], shards=[home]), shards=[home]) as node:
        shards, place = node.tenants.shards, Place(ACME, to)
        lives = "control" if to == "eu" else "eu"
        await node.tenants.register(CreateTenant(id="acme", set={"shard": lives}))
        await node.tenants.prepare(ACME)

        async def arrive() -> None:
            await shards.make_ready(place, database.installation)
            async with shards.lend(place) as there:
                await there.execute("CREATE SCHEMA tenant_acme")
                await arrival.mark(there, ACME)

        await arrive()
        assert not await Arrivals(node.tenants, Errands(shards)).clear_all()
        if await shards.is_there(place):
            async with shards.lend(place) as there:
                assert await there.fetchval(SCHEMAS) is None
        await node.submit("acme")

        await arrive()
        await lifecycle(node, tmp_path).delete("acme", keep=False, force=True)

        server, own = await database.connect(Target.parse(home.url)), f"{database.role_prefix}_"
        assert await node.sql(SCHEMAS) is None
        assert await server.fetchval(SCHEMAS) is None
        assert await server.fetch("SELECT FROM pg_database WHERE datname ^@ $1", f"{own}t_") == []
        assert await server.fetch("SELECT FROM pg_roles WHERE rolname ^@ $1", own) == []


@pytest.mark.slow
async def test_on_another_server_the_logins_are_made_and_those_of_before_go(
    database: Database, state_dir: Path, tmp_path: Path
) -> None:
    roles = "SELECT count(*) FROM pg_roles WHERE rolname ^@ $1"
    prefix = f"{database.role_prefix}_"
    async with own_server(state_dir / "second") as (_, target):
        elsewhere = ShardConfig(name="eu", url=target.url)
        async with moved(database, elsewhere, tmp_path) as (node, verb):
            await node.submit("acme")
            there = await admin_of(database, elsewhere)
            await succeeded(there, 2)
            assert await node.sql(roles, prefix) == 2

            await verb.run(ACME, MoveTenant(confirm=True))

            assert (await node.sql(roles, prefix), await there.fetchval(roles, prefix)) == (0, 2)


async def test_its_runs_may_finish_before(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    told: list[Progress] = []

    def report(progress: Progress) -> None:
        told.append(progress)
        GATES.open("moves at once")

    async with used(database, shard) as node:
        await node.hold("acme", "moves at once")

        await moves(node, tmp_path).run(ACME, MoveTenant(to="eu", wait=20.0), report=report)

        assert told[0] == Progress("waiting for its runs", 0, 1, "runs")
        await succeeded(await admin_of(database, shard), 2)


async def test_a_task_that_a_forced_move_cuts_short_goes_on_at_the_target(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    declared = snapshot(["acme"], shards=[shard], supervision=SHORT_DRAIN)
    async with running_node(database, declared, shards=[shard]) as node:
        run = await node.hold("acme", "moves on")

        await moves(node, tmp_path).run(ACME, MoveTenant(to="eu", force=True))

        await until(lambda: GATES.arrived["moves on"] == 2, what="it is begun again")
        GATES.open("moves on")
        there = await admin_of(database, shard)
        await succeeded(there, 1)
        assert await there.fetchval("SELECT id FROM tenant_acme.wf_run") == run.id
