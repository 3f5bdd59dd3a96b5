"""A tenant in figures, whether or not it is awake, or ever was."""

from __future__ import annotations

from orchestrator.daemon.errands import Errands
from orchestrator.daemon.statistics import TenantStatistics
from orchestrator.model.figures import TenantFigures
from orchestrator.model.ids import TenantId
from tests.supervisors.nodes import running_node, snapshot
from tests.support.database import Database

ACME = TenantId("acme")


async def test_figures_wake_nobody_and_need_no_tables(database: Database) -> None:
    async with running_node(database, snapshot(["acme", "globex"])) as node:
        await node.submit("acme")
        await node.until_finished("acme", 1)
        statistics = TenantStatistics(node.tenants, Errands(node.tenants.shards))

        used = await statistics.read(ACME, exact=True)
        never = await statistics.read(TenantId("globex"), exact=False)

        assert (used.runs, used.unread) == ({"succeeded": 1}, [])
        assert {"wf_run": 1}.items() <= {each.name: each.rows for each in used.tables or ()}.items()
        assert never == TenantFigures(tenant="globex")
        assert node.slot("globex").incarnation == 0
