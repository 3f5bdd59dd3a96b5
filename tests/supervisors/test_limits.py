"""insula.submit knows the limits that a tenant is served with, wherever its tables are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg

from orchestrator.model.api import CreateTenant, RenameTenant, UpdateTenant
from orchestrator.model.ids import TenantId
from orchestrator.model.moves import MoveTenant
from orchestrator.model.progress import unheard
from orchestrator.settings.model import Limits, Tenant, Tier
from orchestrator.settings.shards import ShardConfig
from orchestrator.store.connect import Connection
from tests.store.submitting import submit
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_lifecycle import archives, lifecycle
from tests.supervisors.test_moves import moves
from tests.supervisors.test_shards import admin_of, home
from tests.support.database import Database
from tests.support.wait import until

__all__ = ["home"]

ACME, GLOBEX, INITECH = TenantId("acme"), TenantId("globex"), TenantId("initech")


def of(bytes_: int | None) -> Limits:
    """Return limits with that size of an input."""
    return Limits(max_payload_bytes=bytes_)


async def noted(node: Node, tenant: str) -> Any:
    """Return what the registry has of a tenant's limits."""
    return await node.sql(
        "SELECT limits ->> 'max_payload_bytes' FROM insula.tenant WHERE id = $1", tenant
    )


async def is_refused(connection: Connection, tenant: str) -> bool:
    """Tell whether more than ten bytes are too many; nothing is left of the run."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await submit(connection, tenant, "note", '{"text": "long"}')
    except asyncpg.PostgresError as error:
        return error.sqlstate == "IN429"
    finally:
        await transaction.rollback()
    return False


async def test_what_files_tiers_and_requests_limit_is_noted_with_what_declares_it(
    database: Database,
) -> None:
    def declared(own: int | None, tier: int | None) -> Any:
        tiers = {"small": Tier(limits=of(tier))}
        return snapshot([], declarations={"acme": Tenant(limits=of(own))}, tiers=tiers)

    async with running_node(database, declared(None, 30)) as node:
        await node.tenants.register(CreateTenant(id="globex", tier="small"))
        assert [await noted(node, each) for each in ("acme", "globex")] == [None, "30"]

        await node.tenants.publish(declared(10, 20))
        assert [await noted(node, each) for each in ("acme", "globex")] == ["10", "20"]

        await node.tenants.update(GLOBEX, UpdateTenant(set={"limits.max_payload_bytes": 5}))
        assert await noted(node, "globex") == "5"

        await node.tenants.update(GLOBEX, UpdateTenant(unset=["limits.max_payload_bytes"]))
        await node.tenants.publish(declared(None, None))
        limits = "SELECT array_agg(limits) FROM insula.tenant WHERE id = ANY ($1)"
        assert await node.sql(limits, ["acme", "globex"]) == [None, None]


async def test_who_is_renamed_copied_archived_or_brought_back_keeps_his_limits(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([])) as node:
        await node.tenants.register(CreateTenant(id="globex", set={"limits.max_payload_bytes": 10}))
        await node.tenants.prepare(GLOBEX)
        whole, verbs = lifecycle(node, tmp_path), archives(node, tmp_path)

        await whole.rename(GLOBEX, RenameTenant(to="initech"), by="uid 0")
        await verbs.clone(INITECH, ACME, runs="finished", to=None, report=unheard)
        await whole.archive(INITECH)
        await verbs.unarchive(INITECH, unheard)

        connection = await database.connect()
        for tenant in (INITECH, ACME):
            assert await noted(node, tenant) == "10"
            assert await is_refused(connection, tenant)


async def test_a_shard_knows_the_limits_of_those_who_live_there(
    database: Database, home: ShardConfig, tmp_path: Path
) -> None:
    def declared(size: int | None) -> Any:
        acme = Tenant(shard="eu", limits=of(size))
        return snapshot([], declarations={"acme": acme}, shards=[home])

    async with running_node(database, declared(10), shards=[home]) as node:
        await node.tenants.prepare(ACME)
        there = await admin_of(database, home)
        assert await is_refused(there, "acme")

        await node.tenants.publish(declared(1000))
        await until(lambda: _is_let_through(there))

        await node.tenants.publish(declared(10))
        await moves(node, tmp_path).run(ACME, MoveTenant(to="control"))
        assert await is_refused(await database.connect(), "acme")


async def _is_let_through(connection: Connection) -> bool:
    return not await is_refused(connection, "acme")
