"""A whole tenant out of the database and into it again: nothing is lost, and nothing leaks."""

from __future__ import annotations

from pathlib import Path

from orchestrator.archive.container import ArchiveReader
from orchestrator.archive.manifest import Runs
from orchestrator.lifecycle.provision import provision_filled
from orchestrator.lifecycle.transfer.load import Loaded, load
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import Connection
from tests.lifecycle.wholes import ACME, GLOBEX, archived, contents, furnished, ignore
from tests.support.database import Database


async def made(
    database: Database, admin: Connection, archive: ArchiveReader, tenant: TenantId, runs: Runs
) -> Loaded:
    """Make a tenant of an archive."""
    loaded: list[Loaded] = []

    async def fill(app_role: str) -> None:
        loaded.append(
            await load(admin, archive, tenant, app_role=app_role, runs=runs, report=ignore)
        )

    async with admin.transaction():
        await provision_filled(admin, tenant, database.spec(), fill, rotation=0)
    return loaded[0]


async def test_a_tenant_made_of_an_archive_has_all_that_the_other_has(
    database: Database, tmp_path: Path
) -> None:
    admin, _ = await furnished(database, tmp_path)
    archive = await archived(database)
    await admin.execute(
        "INSERT INTO insula.tenant (id, source, declaration, schema_name)"
        " VALUES ('globex', 'api', '{}', 'tenant_globex')"
    )

    loaded = await made(database, admin, archive, GLOBEX, "all")

    assert (loaded.unfinished, loaded.rows) == (1, archive.manifest.rows)
    assert sum(archive.check()) == archive.manifest.bytes
    before, after = await contents(database, ACME), await contents(database, GLOBEX)
    del before["tables"]["wf_run"], after["tables"]["wf_run"]
    assert before == after
