"""What a tenant used is told to the control schema, and survives whatever becomes of the tenant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog.testing

from orchestrator.daemon.tokens import CatchUp
from orchestrator.daemon.usage import Usages
from orchestrator.model.moves import MoveTenant
from orchestrator.model.usage import TenantUsage
from orchestrator.settings.duration import Duration
from orchestrator.settings.model import Limits
from orchestrator.settings.shards import ShardConfig
from supervisors import books
from supervisors.slot import SlotState
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_lifecycle import GLOBEX, lifecycle, registered, used
from tests.supervisors.test_moves import ACME, moves
from tests.supervisors.test_rename import rename
from tests.supervisors.test_shards import admin_of, home, succeeded
from tests.supervisors.test_why import platform_of
from tests.support.database import Database
from tests.support.wait import until

__all__ = ["home"]

WHOSE = "SELECT array_agg(tenant ORDER BY tenant) FROM insula.usage"
TOLD = "SELECT coalesce(sum(submitted), 0)::int FROM insula.usage"


async def usage(node: Node, tenant: str) -> TenantUsage:
    """Return what a tenant used today and yesterday."""
    now = datetime.now(UTC)
    usages = Usages(node.root, node.tenants.shards, node.ground.standing)
    return await usages.of_tenant(tenant, now - timedelta(days=1), now, "day")


async def submitted(node: Node, tenant: str) -> int:
    """Return how many runs were submitted for a tenant."""
    found = await usage(node, tenant)
    assert found.exact
    return sum(row.submitted for row in found.rows)


@pytest.mark.requirement("T9.usage")
async def test_a_tenant_that_falls_asleep_has_told_all_and_one_that_is_awake_is_asked(
    database: Database,
) -> None:
    async with running_node(
        database, snapshot(["acme"], idle_ttl=Duration(milliseconds=1))
    ) as node:
        await node.submit("acme")
        await node.until_finished("acme", 1)
        assert await submitted(node, "acme") == 1

        await node.reach("acme", SlotState.DORMANT)

        assert await node.sql(TOLD) == 1
        assert await submitted(node, "acme") == 1
        assert await node.sql("SELECT count(*) FROM tenant_acme.wf_usage WHERE NOT told") == 0


async def test_what_a_deleted_tenant_used_stays_and_the_next_of_its_id_begins_at_nothing(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([])) as node:
        await used(node)
        await lifecycle(node, tmp_path).delete(GLOBEX, keep=False, force=True)
        (former,) = (await usage(node, "globex")).rows
        assert (former.submitted, former.gone) == (1, True)
        assert await node.sql("SELECT count(*) FROM insula.transition") == 0

        await registered(node)
        assert (await usage(node, "globex")).rows == []
        assert (await platform_of(node).why(GLOBEX)).transitions == []
        await node.submit("globex")
        await node.submit("globex")
        await node.until_finished("globex", 2)

        (present,) = (await usage(node, "globex")).rows
        assert (present.submitted, present.gone) == (2, False)
        assert present.registration != former.registration


async def test_a_node_that_is_behind_shows_a_token_its_own_tenant_and_no_former_one(
    database: Database, tmp_path: Path
) -> None:
    nothing = snapshot([])
    async with (
        running_node(database, nothing) as node,
        running_node(database, nothing, name="b") as behind,
    ):
        await registered(node, name="the former one")
        await behind.tenants.refresh()
        await lifecycle(node, tmp_path).delete(GLOBEX, keep=False)
        await registered(node, name="the present one")
        row = await node.tenants.shards.row(GLOBEX)
        assert behind.slot("globex").config.name == "the former one"

        await CatchUp(behind.tenants)(GLOBEX, row.registration)

        assert (await platform_of(behind).read_tenant(GLOBEX)).name == "the present one"


async def test_a_renamed_tenant_takes_its_usage_along(database: Database, tmp_path: Path) -> None:
    async with running_node(database, snapshot([])) as node:
        await used(node)
        await lifecycle(node, tmp_path).delete(GLOBEX, keep=False, force=True)
        await used(node)
        await rename(node)

        assert await submitted(node, "initech") == 1
        assert await node.sql(WHOSE) == ["globex", "initech"], (
            "what a former one used stays its own"
        )


async def test_a_move_there_and_back_counts_nothing_twice(
    database: Database, home: ShardConfig, tmp_path: Path
) -> None:
    async with running_node(database, snapshot(["acme"], shards=[home]), shards=[home]) as node:
        await node.submit("acme")
        await node.until_finished("acme", 1)
        verb = moves(node, tmp_path)
        await verb.run(ACME, MoveTenant(to="eu"))
        assert await submitted(node, "acme") == 1
        await node.submit("acme")
        await succeeded(await admin_of(database, home), 2)
        await verb.run(ACME, MoveTenant(back=True, force=True))

        await node.submit("acme")
        await node.until_finished("acme", 2)

        assert await submitted(node, "acme") == 3


@pytest.mark.requirement("T9.alerts")
async def test_a_limit_that_is_nearly_used_up_is_told_once_in_its_window(
    database: Database,
) -> None:
    limited = snapshot(["acme", "idle"], limits=Limits(max_runs_per_day=5))
    with structlog.testing.capture_logs() as logs:
        async with running_node(database, limited) as node:
            for _ in range(4):
                await node.submit("acme")
            await until(lambda: alerted(node), what="the alert")
        async with running_node(database, limited) as node:  # which remembers nothing
            await node.submit("acme")
            await node.until_finished("acme", 5)
            (alert,) = (await usage(node, "acme")).alerts
            platform = platform_of(node)
            listed = {each.id: each.alerts for each in await platform.listed()}
            shown, why = await platform.read_tenant(ACME), await platform.why(ACME)

    told = [each for each in logs if each["event"] == "quota.nearly_used"]
    assert [(each["quota"], each["used"], each["limit"]) for each in told] == [
        ("max_runs_per_day", 4, 5)
    ]
    assert (alert.quota, alert.used, alert.allowed) == ("max_runs_per_day", 4, 5)
    assert listed == {"acme": [alert], "idle": []}
    assert shown.alerts == why.alerts == [alert]


@pytest.mark.requirement("T9.alerts")
@pytest.mark.parametrize("told", ["awake", "asleep"])
async def test_runs_from_sql_come_near_a_limit_as_well(
    database: Database, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    if told == "awake":
        monkeypatch.setattr(books, "TELL_SECONDS", 0.02)
    limited = snapshot(["acme"], limits=Limits(max_runs_per_hour=5))
    async with running_node(database, limited) as node:
        await node.submit("acme")
        await node.until_finished("acme", 1)
        for _ in range(3):
            await node.sql("SELECT insula.submit('acme', 'note')")
        await node.until_finished("acme", 4)
        if told == "awake":
            await until(lambda: alerted(node), what="the alert")
        else:
            assert not await alerted(node)

    rows = await (await database.connect()).fetch("SELECT quota, used, allowed FROM insula.alert")

    assert [tuple(row) for row in rows] == [("max_runs_per_hour", 4, 5)]


async def alerted(node: Node) -> bool:
    """Tell whether an alert was noted."""
    found: bool = await node.sql("SELECT EXISTS (SELECT FROM insula.alert)")
    return found
