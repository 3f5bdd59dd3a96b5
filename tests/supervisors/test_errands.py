"""Verbs of one kind share a connection, whoever lends it, and no other kind has it."""

from __future__ import annotations

from orchestrator.daemon.errands import Errands
from orchestrator.daemon.maintenance import TenantMaintenance
from orchestrator.model.ids import TenantId
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.support.database import Database


async def _backends(node: Node, what: str, tenant: str) -> set[int]:
    """Return the backends that serve errands of a kind, one after the other."""
    row = await node.tenants.shards.row(TenantId(tenant))
    seen = set()
    for _ in range(3):
        errands = Errands(node.tenants.shards)
        async with errands.pair(what, row, lock_timeout="3s") as (registry, server):
            assert registry is server
            seen.add(await server.fetchval("SELECT pg_backend_pid()"))
        async with errands.connection(what, row, lock_timeout="3s") as connection:
            seen.add(await connection.fetchval("SELECT pg_backend_pid()"))
    return seen


async def test_many_verbs_one_after_the_other_have_one_connection(database: Database) -> None:
    async with running_node(database, snapshot(["acme", "globex"])) as node:
        first = await _backends(node, "migration", "acme")

        assert len(first) == 1
        assert await _backends(node, "migration", "globex") == first
        assert await _backends(node, "deletion", "acme") != first


async def test_the_care_for_a_table_takes_no_longer_than_was_said(database: Database) -> None:
    await database.provision("acme")
    admin = await database.connect()
    async with running_node(database, snapshot(["acme"])) as node, admin.transaction():
        await admin.execute("LOCK TABLE tenant_acme.wf_cache IN SHARE UPDATE EXCLUSIVE MODE")

        care = TenantMaintenance(Errands(node.tenants.shards))
        done = await care.run(TenantId("acme"), after="", statement_seconds=0.3)

        problems = {each.name: each.problem for each in done.tables if each.problem}
        assert list(problems) == ["wf_cache"]
        assert "due to statement timeout" in (problems["wf_cache"] or "")
