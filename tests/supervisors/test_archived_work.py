"""A tenant is archived in the middle of its work: that is waited for, or goes on afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.model.errors import TenantInUse
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import Progress, unheard
from tests.supervisors.nodes import SHORT_DRAIN, running_node, snapshot
from tests.supervisors.test_lifecycle import archives, lifecycle
from tests.supervisors.workflows import GATES
from tests.support.database import Database
from tests.support.wait import until

ACME = TenantId("acme")


async def test_who_is_archived_in_the_middle_of_something_goes_on_when_back(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        whole = lifecycle(node, tmp_path)
        await node.submit("acme", "later")

        with pytest.raises(TenantInUse, match="has 1 unfinished run") as refused:
            await whole.archive(ACME)
        assert refused.value.hint.endswith("or take them along with --force")
        await whole.archive(ACME, force=True)
        back = await archives(node, tmp_path).unarchive(ACME, unheard)

        assert back.unfinished == 1
        await node.until_finished("acme", 1)


async def test_before_a_tenant_is_archived_its_runs_may_finish(
    database: Database, tmp_path: Path
) -> None:
    told: list[Progress] = []

    def report(progress: Progress) -> None:
        told.append(progress)
        GATES.open("archived at once")

    async with running_node(database, snapshot(["acme"])) as node:
        await node.hold("acme", "archived at once")

        await lifecycle(node, tmp_path).archive(ACME, wait=20.0, report=report)

        assert told[0] == Progress("waiting for its runs", 0, 1, "runs")
        assert (await archives(node, tmp_path).unarchive(ACME, unheard)).unfinished == 0


async def test_a_task_that_is_cut_short_when_its_tenant_is_archived_begins_again_when_it_is_back(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"], supervision=SHORT_DRAIN)) as node:
        await node.hold("acme", "archived on")

        await lifecycle(node, tmp_path).archive(ACME, force=True)
        await archives(node, tmp_path).unarchive(ACME, unheard)

        await until(lambda: GATES.arrived["archived on"] == 2, what="it is begun again")
        GATES.open("archived on")
        await node.until_finished("acme", 1)
