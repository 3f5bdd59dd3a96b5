"""Tenants in figures, whether or not they are awake, or ever were; and as they are kept."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio

from orchestrator.daemon.errands import Errands
from orchestrator.daemon.figures import FiguresReader
from orchestrator.daemon.maintenance import TenantMaintenance
from orchestrator.daemon.statistics import TenantStatistics
from orchestrator.model.figures import FiguresOrder, ListedFigures, TenantFigures
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import unheard
from orchestrator.settings.duration import Duration
from orchestrator.store.connect import ControlPool
from supervisors.slot import SlotState
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_lifecycle import archives
from tests.supervisors.test_why import platform_of
from tests.support.database import Database
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

ACME = TenantId("acme")
SLEEPING = """
    INSERT INTO insula.tenant (id, source, declaration, schema_name, state, provisioned_at)
    SELECT 't_' || n, 'api', '{}', 'tenant_t_' || n, 'provisioned', now()
    FROM generate_series(1, 2000) AS n"""


BLOCKED = (
    "SELECT count(*) > 0 FROM pg_stat_activity"
    " WHERE application_name = 'insula statistics' AND wait_event_type = 'Lock'"
)


def statistics_of(node: Node) -> TenantStatistics:
    """Return what tells figures, as the daemon wires it."""
    return TenantStatistics(
        node.tenants,
        Errands(node.tenants.shards),
        platform_of(node).tenants,
        node.ground.standing,
    )


def reader_of(node: Node) -> FiguresReader:
    """Return what reads figures in the background, as the daemon wires it."""
    return FiguresReader(statistics_of(node), node.control)


async def listed(node: Node) -> dict[str, ListedFigures]:
    """Return all tenants in figures as they are kept."""
    found = await statistics_of(node).overview(order=FiguresOrder.ID, limit=None)
    return {each.tenant: each for each in found.tenants}


async def test_figures_wake_nobody_and_need_no_tables(database: Database) -> None:
    async with running_node(database, snapshot(["acme", "globex"])) as node:
        await node.submit("acme")
        await node.until_finished("acme", 1)

        used = await statistics_of(node).read(ACME, exact=True)
        never = await statistics_of(node).read(TenantId("globex"), exact=False)

        assert (used.runs, used.unread) == ({"succeeded": 1}, [])
        assert {"wf_run": 1}.items() <= {each.name: each.rows for each in used.tables or ()}.items()
        assert never == TenantFigures(tenant="globex")
        assert node.slot("globex").incarnation == 0


async def test_who_counts_rows_leaves_a_place_to_who_only_looks(database: Database) -> None:
    async with running_node(database, snapshot(["acme", "globex"])) as node:
        for tenant in ("acme", "globex"):
            await node.submit(tenant)
            await node.until_finished(tenant, 1)
        statistics, counted = statistics_of(node), []
        blocker, observer = await database.connect(), await database.connect()

        async def count() -> None:
            counted.append(await statistics.read(ACME, exact=True))

        async with blocker.transaction(), anyio.create_task_group() as counting:
            await blocker.execute("LOCK TABLE tenant_acme.wf_run")
            counting.start_soon(count)
            counting.start_soon(count)
            await until(partial(observer.fetchval, BLOCKED))
            seen = await statistics.read(TenantId("globex"), exact=False)
            assert counted == []
            counting.cancel_scope.cancel()

        assert seen.runs == {"succeeded": 1}


async def test_what_somebody_has_read_is_in_the_list(database: Database) -> None:
    async with running_node(database, snapshot(["acme", "globex"])) as node:
        await node.submit("acme")
        await node.until_finished("acme", 1)
        await statistics_of(node).read(ACME, exact=True)

        found = await listed(node)

        assert (found["acme"].runs, found["acme"].state) == (1, "running")
        assert found["acme"].rows is not None
        assert found["acme"].day is not None
        assert found["acme"].day.accepted == 1
        assert (found["globex"].used, found["globex"].read_at) == (False, None)


async def test_who_was_used_is_read_in_the_background_and_who_sleeps_is_left_asleep(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme", "globex"], idle_ttl=Duration(0))) as node:
        await node.submit("acme")
        await node.until_finished("acme", 1)
        await node.reach("acme", SlotState.DORMANT)
        reader = reader_of(node)

        first, second = await reader.read_due(), await reader.read_due()

        assert (first, second) == (1, 0)
        assert (await listed(node))["acme"].runs == 1
        assert node.slot("acme").incarnation == 1
        assert node.slot("globex").incarnation == 0
        assert await node.connections("acme") == 0


async def test_who_sleeps_is_read_again_when_a_verb_has_changed_the_tables(
    database: Database, tmp_path: Path
) -> None:
    await database.provision("acme")
    async with running_node(database, snapshot(["acme"])) as node:
        reader, verbs = reader_of(node), archives(node, tmp_path)
        care = TenantMaintenance(Errands(node.tenants.shards))
        assert await reader.read_due() == 1

        await care.run(ACME, after="", statement_seconds=9.0)
        assert await reader.read_due() == 1
        with await verbs.export(ACME, kind="csv", unsealed=False) as spool:
            await verbs.add(ACME, spool, report=unheard)
        assert await reader.read_due() == 1

        assert await reader.read_due() == 0


async def test_one_that_can_not_be_read_keeps_nobody_else_from_it(database: Database) -> None:
    await database.provision("acme")
    await database.provision("globex")
    async with running_node(database, snapshot(["acme", "globex"])) as node:
        await node.sql("UPDATE insula.tenant SET shard = 'nowhere' WHERE id = 'acme'")
        await node.sql("UPDATE insula.figures SET due_at = now() - interval '1 h'")

        assert await reader_of(node).read_due() == 2

        found = await listed(node)
        assert [found[each].read_at is None for each in ("acme", "globex")] == [True, False]


async def test_thousands_that_sleep_are_one_statement_to_the_reader(database: Database) -> None:
    proxy = CuttingProxy(database.target)
    async with (
        running_node(database, snapshot([])) as node,
        proxy.running(),
        ControlPool.open(proxy.target, application_name="counted") as counted,
    ):
        await node.sql(SLEEPING)
        await node.sql("UPDATE insula.figures SET due_at = NULL, read_at = now()")
        reader = FiguresReader(statistics_of(node), counted)
        assert await reader.read_due() == 0  # the first statement of a connection is prepared
        before = proxy.statements

        assert await reader.read_due() == 0

        assert proxy.statements - before == 1
