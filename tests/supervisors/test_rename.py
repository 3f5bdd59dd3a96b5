"""A tenant that a node serves gets another id: its runs, schedules and callers go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.model.api import CreateTenant, RenameTenant
from orchestrator.model.errors import (
    DeclaredInFile,
    InvalidTenantId,
    TenantExists,
    TenantInUse,
    TenantNotFound,
    TenantRemoved,
)
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import Progress
from orchestrator.store.control import audit
from supervisors.slot import SlotState
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_lifecycle import lifecycle
from tests.supervisors.workflows import GATES
from tests.support.database import Database
from tests.support.wait import until

GLOBEX, INITECH = TenantId("globex"), TenantId("initech")


async def rename(node: Node, **how: object) -> TenantId:
    """Rename globex to initech."""
    wanted = RenameTenant(to="initech", **how)  # type: ignore[arg-type]
    return await lifecycle(node, Path()).rename(GLOBEX, wanted, by="uid 0")


async def test_runs_go_on_under_the_new_id_and_the_old_one_leads_there(database: Database) -> None:
    async with running_node(database, snapshot([])) as node:
        await node.tenants.register(CreateTenant(id="globex", aliases=["Globex-Corp", "Initech"]))
        await node.submit("globex", key="march")
        await node.until_finished("globex", 1)

        assert await rename(node) == INITECH

        again = await node.submit("initech", key="march")
        await node.submit("initech")
        await node.until_finished("initech", 2)
        assert again.known
        assert {node.root.resolve(name) for name in ("globex", "Globex-Corp")} == {INITECH}
        assert node.slot("initech").config.aliases == ("Globex-Corp", "globex")
        assert GLOBEX not in node.root.slots


async def test_a_task_that_is_cut_short_goes_on_with_the_same_key(database: Database) -> None:
    async with running_node(database, snapshot([])) as node:
        await node.tenants.register(CreateTenant(id="globex", set={"idle_ttl": "1h"}))
        run = await node.hold("globex", "renamed")

        with pytest.raises(TenantInUse, match="has 1 unfinished run") as refused:
            await rename(node)
        assert node.slot("globex").state is SlotState.RUNNING
        GATES.open("renamed")
        await rename(node, force=True)

        await node.until_finished("initech", 1)
        assert node.slot("initech").config.origin == "globex"
        assert "let them go on" in refused.value.hint
        assert await node.sql("SELECT id FROM tenant_initech.wf_run") == run.id


async def test_runs_may_finish_before(database: Database) -> None:
    async with running_node(database, snapshot([])) as node:
        await node.tenants.register(CreateTenant(id="globex"))
        await node.hold("globex", "waited")
        told: list[Progress] = []

        def report(progress: Progress) -> None:
            told.append(progress)
            GATES.open("waited")

        wanted = RenameTenant(to="initech", wait=20.0)
        await lifecycle(node, Path()).rename(GLOBEX, wanted, by="uid 0", report=report)

        assert told[0] == Progress("waiting for its runs", 0, 1, "runs")
        assert [each.phase for each in told[-2:]] == [
            "waiting for its nodes to let go",
            "renaming its schema and logins",
        ]
        assert await node.finished("initech") == 1


async def test_the_audit_has_it_under_the_new_id_since_the_same_commit(database: Database) -> None:
    async with running_node(database, snapshot([])) as node:
        await node.tenants.register(CreateTenant(id="globex"))
        await rename(node)

        (entry,) = await audit.page(await database.connect(), INITECH, limit=9)
        assert (entry.actor, entry.operation) == ("uid 0", "tenant.rename")
        assert (entry.subject, entry.outcome) == ("from globex", "done")


async def test_what_can_not_be_is_refused_and_the_tenant_goes_on(database: Database) -> None:
    async with running_node(database, snapshot(["acme"], aliases=["taken"])) as node:
        await node.tenants.register(CreateTenant(id="globex"))
        verbs = lifecycle(node, Path())

        for to in ("pg_x", "Initech", "insula", "x" * 64, "ümlaut"):
            with pytest.raises(InvalidTenantId):
                await verbs.rename(GLOBEX, RenameTenant(to=to), by="uid 0")
        for to in ("acme", "taken"):
            with pytest.raises(TenantExists, match=f"'{to}' is taken by tenant 'acme'"):
                await verbs.rename(GLOBEX, RenameTenant(to=to), by="uid 0")
        with pytest.raises(DeclaredInFile) as declared:
            await verbs.rename(TenantId("acme"), RenameTenant(to="initech"), by="uid 0")

        assert "rename it, and then declare it as [tenants.initech]" in declared.value.hint
        assert await verbs.rename(GLOBEX, RenameTenant(to="globex"), by="uid 0") == GLOBEX
        await node.submit("globex")


async def test_one_that_a_file_declared_is_renamed_once_that_is_taken_out(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["globex"])) as node:
        await node.submit("globex")
        await node.until_finished("globex", 1)
        await node.declare()
        await until(lambda: GLOBEX not in node.root.slots, what="it is not served")

        await rename(node)
        await node.submit("initech")
        assert node.slot("initech").config.source == "api"
        await node.declare("initech")

        await node.submit("initech")
        await node.until_finished("initech", 3)
        assert node.slot("initech").config.source == "file"


async def test_every_node_knows_it_by_its_new_id(database: Database) -> None:
    async with (
        running_node(database, snapshot([])) as one,
        running_node(database, snapshot([]), name="b") as other,
    ):
        await one.tenants.register(CreateTenant(id="globex"))
        await other.tenants.refresh()
        await rename(one, alias=False)
        with pytest.raises(TenantRemoved):
            await other.tenants.prepare(GLOBEX)
        await other.tenants.refresh()

        await other.submit("initech")

        await one.until_finished("initech", 1)
        with pytest.raises(TenantNotFound):
            other.root.resolve("globex")
        await one.tenants.register(CreateTenant(id="globex"))


async def test_one_that_was_deleted_is_not_renamed(database: Database) -> None:
    async with running_node(database, snapshot(["initech"])) as node:
        await node.tenants.register(CreateTenant(id="globex"))
        await lifecycle(node, Path()).delete("globex", keep=False)

        for to in ("initech", "globex"):
            with pytest.raises(TenantNotFound):
                await lifecycle(node, Path()).rename(GLOBEX, RenameTenant(to=to), by="uid 0")


async def test_one_that_was_never_used_is_not_woken_though_its_id_was(database: Database) -> None:
    async with running_node(database, snapshot([])) as node:
        for _ in range(2):
            await node.tenants.register(CreateTenant(id="globex"))
            await node.submit("globex")
            await node.until_finished("globex", 1)
            await rename(node)
            await lifecycle(node, Path()).delete("initech", keep=False, force=True)
        await node.tenants.register(CreateTenant(id="globex"))

        async with node.holds.of(GLOBEX, "move"):
            pass
        await rename(node)

        assert await node.sql("SELECT count(*) FROM insula.wake") == 0
