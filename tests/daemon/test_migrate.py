"""`insula migrate` against a daemon that is killed in its middle."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import anyio
import pytest

from orchestrator import Client
from orchestrator.model.errors import InsulaError
from orchestrator.model.migration import MigrateTenants
from tests.daemon.process import MIGRATIONS, daemon
from tests.support.database import Database
from tests.support.wait import until

TENANTS = ("acme", "globex", "initech")
WAITS = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation IS NOT NULL"


async def migrate(client: Client) -> None:
    """Migrate, with a daemon that goes away."""
    with contextlib.suppress(InsulaError):
        await client.migrate(MigrateTenants(parallel=1))


def add_two_files(migrations: Path) -> None:
    """Add one file that runs in a transaction, and one that must run outside of one."""
    (migrations / "0002_note.sql").write_text("ALTER TABLE tally ADD note text;")
    (migrations / "0003_index.sql").write_text(
        "-- insula: no-transaction\n"
        "DROP INDEX CONCURRENTLY IF EXISTS tally_by_note;\n"
        "CREATE INDEX CONCURRENTLY tally_by_note ON tally (note);\n"
    )


@pytest.mark.slow
async def test_a_killed_daemon_leaves_each_tenant_as_before_or_done_and_the_next_goes_on(
    database: Database, tmp_path: Path
) -> None:
    files = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, files)
    admin = await database.connect()
    holder = await database.connect()
    applied = "SELECT count(*) FROM {}.wf_migration WHERE ledger = 'app'"
    async with daemon(tmp_path) as served:
        served.configure(TENANTS, database=database)
        served.config.write_text(
            served.config.read_text().replace(str(MIGRATIONS), str(files)), encoding="utf-8"
        )
        await served.start()
        async with served.client() as client:
            for tenant in TENANTS:
                await client.tenant(tenant).provision()
            add_two_files(files)
            async with anyio.create_task_group() as group, holder.transaction():
                # The first tenant waits for the holder, and the others for it.
                await holder.execute("LOCK TABLE tenant_acme.tally IN ROW EXCLUSIVE MODE")
                group.start_soon(migrate, client)
                await until(lambda: admin.fetchval(WAITS))
                await served.kill()

        counts = [await admin.fetchval(applied.format(f"tenant_{each}")) for each in TENANTS]
        assert counts[0] == 1
        assert {*counts} <= {1, 2, 3}
        unfinished = [each for each, count in zip(TENANTS, counts, strict=True) if count < 3]
        await served.start()
        async with served.client() as client:
            report = await client.migrate()

    assert [each.tenant for each in report.migrated] == unfinished
    assert report.failed == []
    counts = [await admin.fetchval(applied.format(f"tenant_{each}")) for each in TENANTS]
    assert counts == [3, 3, 3]
    assert await admin.fetchval("SELECT bool_and(indisvalid) FROM pg_index")
