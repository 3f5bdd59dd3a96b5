"""An archive of an older PostgreSQL is restored on this one."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from orchestrator.archive.container import ArchiveReader
from orchestrator.lifecycle.transfer.restore import verified
from orchestrator.store import connect
from orchestrator.store.connect import Target
from orchestrator.store.control.tenants import installation_id
from orchestrator.store.embedded import EmbeddedPostgres, Tuning
from orchestrator.store.migrate import migrate_control
from tests.lifecycle.test_transfer import restored
from tests.lifecycle.wholes import ACME, GLOBEX, contents, furnished, ignore, written
from tests.support.database import Database

OLDER = Path("/usr/lib/postgresql/15/bin")


@pytest.mark.slow
@pytest.mark.pg(">=16")
@pytest.mark.skipif(not OLDER.exists(), reason="needs Debian's PostgreSQL 15")
async def test_an_archive_from_postgresql_15_is_restored_on_this_server(
    database: Database, state_dir: Path, tmp_path: Path
) -> None:
    file = io.BytesIO()
    async with EmbeddedPostgres(
        state_dir, tuning=Tuning(settings={"fsync": "off"}), bin_dir=OLDER
    ) as server:
        older = await _prepared(Target.parse(server.url))
        _, app = await furnished(older, tmp_path)
        manifest = await written(older, file)
        before = await contents(older, ACME)
        await older.close()

    archive = await verified(file, database.spec(app), foreign=True, report=ignore)
    assert isinstance(archive, ArchiveReader)
    await restored(await database.connect(), archive, database.spec(app))

    after = await contents(database, GLOBEX)
    assert manifest.server.startswith("15.")
    del before["tables"]["wf_run"], after["tables"]["wf_run"]  # its epochs begin anew
    assert before == after


async def _prepared(target: Target) -> Database:
    connection = await connect.connect(target, application_name="insula test")
    await migrate_control(connection)
    installation = await installation_id(connection)
    await connection.close()
    return Database(target, "older", installation)
