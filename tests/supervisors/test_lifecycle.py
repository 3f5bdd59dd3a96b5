"""What operators do to whole tenants: update, disable, enable, delete."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.daemon.archives import TenantArchives
from orchestrator.daemon.errands import Errands
from orchestrator.daemon.lifecycle import TenantLifecycle
from orchestrator.daemon.wiping import KeyWiping
from orchestrator.model.api import CreateTenant, UpdateTenant
from orchestrator.model.errors import (
    DeclaredInFile,
    InvalidRequest,
    TenantExists,
    TenantInUse,
    TenantNotFound,
    TenantSuspended,
)
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import Progress
from orchestrator.settings.model import Tenant
from orchestrator.store.control import audit, tenants
from supervisors.slot import SlotState
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.workflows import GATES
from tests.support.database import Database

ACME, GLOBEX = TenantId("acme"), TenantId("globex")


def lifecycle(node: Node, state_dir: Path) -> TenantLifecycle:
    """Return the verbs as the daemon wires them."""
    return TenantLifecycle(
        node.root,
        node.control,
        node.tenants,
        node.audit,
        Errands(node.tenants.shards),
        state_dir,
        node.holds,
        archives(node, state_dir),
        KeyWiping(Errands(node.tenants.shards)),
    )


def archives(node: Node, state_dir: Path) -> TenantArchives:
    """Return the verbs that copy whole tenants, as the daemon wires them."""
    return TenantArchives(node.control, node.tenants, Errands(node.tenants.shards), state_dir)


async def registered(node: Node, **fields: Any) -> TenantId:
    """Register tenant globex at run time."""
    return await node.tenants.register(CreateTenant(id="globex", **fields))


async def used(node: Node) -> None:
    """Register globex, and have it do one run."""
    await registered(node)
    await node.submit("globex")
    await node.until_finished("globex", 1)


async def doomed(node: Node) -> None:
    """Begin to delete globex, and get no further."""
    async with node.control.acquire() as connection:
        await tenants.mark_deleting(connection, GLOBEX, "keep")


@pytest.mark.requirement("T6.disabled")
async def test_a_disabled_tenant_takes_no_work_until_it_is_enabled(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        verbs = lifecycle(node, tmp_path)
        await node.hold("acme", "disabled")

        await verbs.disable(ACME, "has not paid")
        with pytest.raises(TenantSuspended, match="disabled: has not paid") as refused:
            await node.submit("acme")
        GATES.open("disabled")
        await node.reach("acme", SlotState.SUSPENDED)
        await verbs.enable(ACME)
        await node.submit("acme")

        assert refused.value.hint == "insula tenant enable acme"
        await node.until_finished("acme", 2)


async def test_a_disabling_outlives_reloads_and_restarts(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await lifecycle(node, tmp_path).disable(ACME, "moved")
        await node.declare("acme", name="Acme, changed")
        assert node.slot("acme").state is SlotState.SUSPENDED

    async with running_node(database, snapshot(["acme"]), name="b") as node:
        assert node.slot("acme").config.disabled_because == "moved"
        assert node.slot("acme").state is SlotState.SUSPENDED


@pytest.mark.requirement("T6.disabled")
async def test_sql_starts_nothing_of_a_disabled_tenant(database: Database, tmp_path: Path) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.submit("acme")
        await lifecycle(node, tmp_path).disable(ACME, "")

        with pytest.raises(Exception, match="tenant 'acme' is disabled"):
            await node.sql("SELECT insula.submit('acme', 'note')")


async def test_a_file_that_disables_a_tenant_is_not_overruled(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"], enabled=False)) as node:
        with pytest.raises(DeclaredInFile, match="disabled by the file"):
            await lifecycle(node, tmp_path).enable(ACME)


async def test_a_registered_tenant_that_was_created_disabled_is_enabled(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([])) as node:
        await registered(node, set={"enabled": False})
        await lifecycle(node, tmp_path).enable(GLOBEX)

        await node.submit("globex")
        await node.until_finished("globex", 1)


async def test_other_nodes_follow_what_one_changes(database: Database, tmp_path: Path) -> None:
    async with (
        running_node(database, snapshot(["acme"])) as one,
        running_node(database, snapshot(["acme"]), name="b") as other,
    ):
        verbs = lifecycle(one, tmp_path)
        await registered(one, aliases=["Globex-Corp"])
        await verbs.disable(ACME, "moved")
        await other.tenants.refresh()

        assert other.root.resolve("globex-corp") == GLOBEX
        assert other.slot("acme").state is SlotState.SUSPENDED

        await verbs.enable(ACME)
        await verbs.delete("globex", keep=False)
        await other.tenants.refresh()

        assert other.slot("acme").state is SlotState.DORMANT
        with pytest.raises(TenantNotFound):
            other.root.resolve("globex")


async def test_a_node_that_wakes_a_tenant_does_not_miss_what_another_has_just_changed(
    database: Database, tmp_path: Path
) -> None:
    async with (
        running_node(database, snapshot(["acme"])) as one,
        running_node(database, snapshot(["acme"]), name="b") as other,
    ):
        await registered(one)
        await other.tenants.refresh()
        await lifecycle(one, tmp_path).disable(ACME, "moved")
        await lifecycle(one, tmp_path).update(GLOBEX, UpdateTenant(name="Globex"))

        for tenant in (ACME, GLOBEX):
            await other.tenants.prepare(tenant)
        await other.tenants.refresh()

        assert other.slot("acme").state is SlotState.SUSPENDED
        assert other.slot("globex").config.name == "Globex"


async def test_a_name_that_another_node_gave_a_moment_ago_is_taken(
    database: Database, tmp_path: Path
) -> None:
    async with (
        running_node(database, snapshot([])) as one,
        running_node(database, snapshot([]), name="b") as other,
    ):
        await registered(one, aliases=["shop"])

        for request in (
            CreateTenant(id="acme", aliases=["Shop"]),
            CreateTenant(id="acme", aliases=["globex"]),
            CreateTenant(id="shop"),
        ):
            with pytest.raises(TenantExists, match="is taken by tenant 'globex'"):
                await other.tenants.register(request)
        await one.tenants.register(CreateTenant(id="acme"))
        with pytest.raises(TenantExists, match="'shop' is taken by tenant 'globex'"):
            await lifecycle(other, tmp_path).update(ACME, UpdateTenant(aliases=["shop"]))


async def test_an_update_changes_what_it_names_without_a_restart(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([])) as node:
        await registered(node, name="Globex", set={"limits.max_queue_length": 5, "weight": 3})
        await node.submit("globex")
        incarnation = node.slot("globex").incarnation

        change = UpdateTenant(
            set={"limits.max_payload_bytes": "1MiB", "idle_ttl": "1h"},
            unset=["limits.max_queue_length"],
            aliases=["glo"],
        )
        await lifecycle(node, tmp_path).update(GLOBEX, change)

        config = node.slot("globex").config
        assert (config.name, config.weight, config.idle_ttl) == ("Globex", 3, timedelta(hours=1))
        assert config.limits.max_payload_bytes == 2**20
        assert config.limits.max_queue_length is None
        assert node.root.resolve("glo") == GLOBEX
        assert node.slot("globex").incarnation == incarnation


async def test_a_wrong_update_tells_all_that_is_wrong_and_changes_nothing(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"], aliases=["taken"])) as node:
        await registered(node)
        verbs = lifecycle(node, tmp_path)

        change = UpdateTenant(set={"weight": 0, "limits.max_retrys": 1}, unset=["features.x"])
        with pytest.raises(InvalidRequest) as wrong:
            await verbs.update(GLOBEX, change)
        with pytest.raises(TenantExists, match="'taken' is taken by tenant 'acme'"):
            await verbs.update(GLOBEX, UpdateTenant(aliases=["taken"]))

        assert len(wrong.value.data["problems"]) == 3
        assert node.slot("globex").config.weight == 1


async def test_what_a_file_declares_is_changed_there(database: Database, tmp_path: Path) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        verbs = lifecycle(node, tmp_path)

        with pytest.raises(DeclaredInFile) as update:
            await verbs.update(ACME, UpdateTenant(name="x"))
        with pytest.raises(DeclaredInFile) as deletion:
            await verbs.delete("acme", keep=False, force=True)

        assert "[tenants.acme]" in update.value.hint
        assert "a reload would make it anew" in str(deletion.value)


async def test_passwords_are_rotated_while_tasks_run_on_their_connections(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.hold("acme", "rotated")
        incarnation = node.slot("acme").incarnation

        rotated = await lifecycle(node, tmp_path).rotate_credentials(ACME)
        GATES.open("rotated")
        await node.until_finished("acme", 1)

        assert (rotated.rotation, rotated.old_password) == (1, "refused")
        assert node.slot("acme").incarnation == incarnation


async def test_a_tenant_is_deleted_while_it_is_awake(database: Database, tmp_path: Path) -> None:
    async with running_node(database, snapshot([])) as node:
        await registered(node, aliases=["Globex-Corp"])
        await node.submit("globex")
        await node.until_finished("globex", 1)

        deleted = await lifecycle(node, tmp_path).delete("globex-corp", keep=True)

        assert (deleted.tenant, deleted.schema, deleted.runs_kept) == ("globex", "tenant_globex", 1)
        assert Path(deleted.results or "").parent == tmp_path / "results"
        assert await node.connections("globex") == 0
        with pytest.raises(TenantNotFound):
            await node.submit("globex")


async def test_the_id_of_a_deleted_tenant_may_be_used_again(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([])) as node:
        await registered(node)
        await node.submit("globex")
        epoch = node.slot("globex").epoch or 0
        await node.until_finished("globex", 1)
        await lifecycle(node, tmp_path).delete("globex", keep=False)

        await used(node)

        assert (node.slot("globex").epoch or 0) > epoch


async def test_unfinished_runs_keep_a_tenant_that_goes_on(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([])) as node:
        verbs = lifecycle(node, tmp_path)
        await registered(node)
        await node.submit("globex", "wait", gate="kept")

        with pytest.raises(TenantInUse):
            await verbs.delete("globex", keep=False)
        GATES.open("kept")
        await node.until_finished("globex", 1)


@pytest.mark.parametrize("verb", ["delete", "erase"])
async def test_before_a_tenant_is_deleted_or_erased_its_runs_may_finish(
    database: Database, tmp_path: Path, verb: str
) -> None:
    told: list[Progress] = []

    def report(progress: Progress) -> None:
        told.append(progress)
        GATES.open(f"{verb} waits")

    async with running_node(database, snapshot([])) as node:
        verbs = lifecycle(node, tmp_path)
        await registered(node)
        await node.hold("globex", f"{verb} waits")

        if verb == "delete":
            await verbs.delete("globex", keep=False, wait=20.0, report=report)
        else:
            await verbs.erase("globex", wait=20.0, report=report)

        assert told[0] == Progress("waiting for its runs", 0, 1, "runs")
        assert await node.sql("SELECT to_regnamespace('tenant_globex')") is None
        assert await node.sql("SELECT sum(succeeded)::int FROM insula.usage") == 1


async def test_a_deletion_that_was_begun_is_finished_by_the_next_node(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([])) as node:
        await used(node)
        await doomed(node)

    async with running_node(database, snapshot([]), name="b") as node:
        assert GLOBEX not in node.root.slots
        with pytest.raises(TenantExists, match="is being deleted"):
            await registered(node)

        await lifecycle(node, tmp_path).resume()

        (entry,) = await audit.page(await database.connect(), GLOBEX, limit=9)
        assert (entry.actor, entry.operation) == ("insula", "tenant.delete")
        assert (entry.subject, entry.outcome) == ("results keep, resumed", "done")
        assert len(list((tmp_path / "results").iterdir())) == 1
        assert await node.sql("SELECT to_regnamespace('tenant_globex') IS NULL")
        assert await node.sql("SELECT state FROM insula.tenant WHERE id = 'globex'") == "removed"


async def test_a_deletion_that_was_not_forced_is_not_forced_by_the_next_node(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([])) as node:
        await used(node)
        await node.sql("SELECT insula.submit('globex', 'note', at => now() + interval '1 day')")
        await doomed(node)

    async with running_node(database, snapshot([]), name="b") as node:
        await lifecycle(node, tmp_path).resume()
        await node.submit("globex")

        await node.until_finished("globex", 2)


async def test_a_file_that_declares_a_tenant_in_its_deletion_has_it_anew_at_the_end(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([])) as node:
        await used(node)
        await doomed(node)

    async with running_node(database, snapshot(["globex"]), name="b") as node:
        await lifecycle(node, tmp_path).resume()
        await node.submit("globex")

        await node.until_finished("globex", 1)
        assert len(list((tmp_path / "results").iterdir())) == 1


async def test_a_file_may_declare_a_deleted_tenant_anew(database: Database, tmp_path: Path) -> None:
    async with running_node(database, snapshot([])) as node:
        await used(node)
        await lifecycle(node, tmp_path).delete("globex", keep=False)

        await node.tenants.publish(snapshot([], declarations={"globex": Tenant()}))
        await node.submit("globex")

        await node.until_finished("globex", 1)
