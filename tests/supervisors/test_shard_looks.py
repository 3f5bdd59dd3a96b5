"""The keeper of a shard looks into the databases of its tenants: what one of them does to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchestrator.model.ids import TenantId
from orchestrator.settings.shards import ShardConfig
from tests.supervisors.nodes import running_node, snapshot
from tests.supervisors.test_lifecycle import lifecycle
from tests.supervisors.test_shards import admin_of, home
from tests.support.database import Database
from tests.support.wait import until

__all__ = ["home"]

ACME = TenantId("acme")
COPYING = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = $1 AND application_name = 'insula shard eu' AND wait_event_type = 'Lock'
"""


@pytest.mark.parametrize("home", ["database"], indirect=True)
async def test_a_shard_is_not_away_because_its_session_in_one_database_was_ended(
    database: Database, home: ShardConfig, tmp_path: Path
) -> None:
    declared = snapshot(["acme"], shards=[home], shard="eu")
    async with running_node(database, declared, shards=[home]) as node:
        await node.tenants.prepare(ACME)
        theirs = await admin_of(database, home)
        name = await theirs.fetchval("SELECT current_database()")

        async def copying() -> bool:
            return await node.sql(COPYING, name) is not None

        async def copied() -> bool:
            return bool(await theirs.fetchval("SELECT disabled_at IS NOT NULL FROM insula.tenant"))

        with capture_logs() as logs:
            async with theirs.transaction():
                await theirs.execute("LOCK TABLE insula.tenant")
                await lifecycle(node, tmp_path).disable(ACME, "so that its row is copied")
                await until(copying)
                await node.sql(f"SELECT pg_terminate_backend(({COPYING}))", name)
            await until(copied)

        told = [each["event"] for each in logs]
        assert "shard.database_passed_over" in told
        assert "shard.lost" not in told
