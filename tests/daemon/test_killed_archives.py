"""kill -9 in the middle of copying whole tenants: nothing half-made, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Client
from orchestrator.model.errors import InsulaError, TenantArchived, TenantNotFound
from orchestrator.store.connect import Connection
from tests.daemon.process import daemon
from tests.support.database import Database
from tests.support.wait import until

LOCKS = {
    "source": "LOCK TABLE tenant_source.tally IN ACCESS EXCLUSIVE MODE",
    "again": "INSERT INTO insula.lock (name) VALUES ('tenant again')",
    "away": "LOCK TABLE tenant_away.tally IN ACCESS EXCLUSIVE MODE",
}
"""Where the backup, the restoring and the archiving of these tenants stand still."""


async def ask(client: Client, tenant: str, directory: Path) -> None:
    """Ask for what is in its middle when the daemon dies, and hear of one error."""
    archives = client.tenant(tenant).archives
    verbs: dict[str, Any] = {
        "source": lambda: archives.backup(directory / "broken.tar"),
        "again": lambda: archives.restore(directory / "whole.tar", of="source"),
        "away": archives.archive,
    }
    with pytest.raises(InsulaError):
        await verbs[tenant]()


async def _are_waiting(admin: Connection, count: int) -> bool:
    found: int = await admin.fetchval(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return found == count


@pytest.mark.slow
async def test_a_daemon_that_dies_leaves_no_half_of_a_tenant_and_no_file(
    database: Database, state_dir: Path
) -> None:
    admin, holder = await database.connect(), await database.connect()
    async with daemon(state_dir) as served:
        served.configure(["source", "away"], database=database)
        await served.start()
        async with served.client() as client:
            for tenant in ("source", "away"):
                run = await client.tenant(tenant).start("count")
                assert (await run.result(timeout=30)).error is None
            await client.tenant("source").archives.backup(state_dir / "whole.tar")
            async with holder.transaction(), asyncio.TaskGroup() as group:
                for count, (tenant, lock) in enumerate(LOCKS.items(), start=1):
                    await holder.execute(lock)
                    group.create_task(ask(client, tenant, state_dir))
                    await until(partial(_are_waiting, admin, count), what=f"{tenant} stands still")
                await served.kill()
        await admin.execute("UPDATE insula.node SET expires_at = now()")  # nobody waits for that

        assert sorted(each for each in os.listdir(state_dir) if "tar" in each) == ["whole.tar"]  # noqa: PTH208 - a test may wait for a disk
        await served.start()
        async with served.client() as client:
            with pytest.raises(TenantNotFound):
                await client.tenant("again").show()
            assert await admin.fetchval("SELECT to_regnamespace('tenant_again')") is None
            await _is_archived_by_the_next(client)
            back = await client.tenant("away").archives.unarchive()
            assert back.unfinished == 0
            made = await client.tenant("again").archives.restore(
                state_dir / "whole.tar", of="source"
            )
            assert made.of == "source"
            for tenant in ("source", "away", "again"):
                run = await client.tenant(tenant).start("count")
                assert (await run.result(timeout=30)).error is None


async def _is_archived_by_the_next(client: Client) -> None:
    async def archived() -> bool:
        try:
            await client.tenant("away").show()
        except TenantArchived:
            return True
        except TenantNotFound:
            return False
        return False

    await until(archived, within=30, what="the next daemon goes on with the archiving")
