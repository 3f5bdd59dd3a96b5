"""A whole tenant out of the database and into it again: nothing is lost, and nothing leaks."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from orchestrator.archive.container import MANIFEST, SEAL, ArchiveReader, ArchiveWriter
from orchestrator.archive.manifest import Runs
from orchestrator.lifecycle.provision import ProvisionSpec, ensure_provisioned
from orchestrator.lifecycle.transfer.load import Loaded
from orchestrator.lifecycle.transfer.restore import Restoring, restore, verified
from orchestrator.model.errors import (
    ArchiveForeign,
    ArchiveInvalid,
    ArchiveTooNew,
    DatabaseUnavailable,
    InsulaError,
    MigrationChecksumMismatch,
    RestoreFailed,
    SchemaVersionAhead,
    TenantExists,
)
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import Connection
from orchestrator.store.control import tenants
from tests.lifecycle.wholes import (
    ACME,
    GLOBEX,
    archived,
    contents,
    dropped,
    furnished,
    ignore,
    written,
)
from tests.support.database import Database, migrations
from tests.support.proxy import CuttingProxy, When

STRIDE = 7
"""Statements from one death to the next: all of them would take a minute."""

WHEN: tuple[When, ...] = ("before", "after")


async def nobody_else(_: Connection) -> None:
    """Refuse no id and no alias."""


async def restored(
    admin: Connection,
    archive: ArchiveReader,
    spec: ProvisionSpec,
    *,
    tenant: TenantId = GLOBEX,
    runs: Runs = "all",
) -> Loaded:
    """Make a tenant of an archive."""
    wanted = Restoring(tenant=tenant, declaration='{"name": "again"}', runs=runs, admit=nobody_else)
    return await restore(admin, admin, archive, wanted, spec, report=ignore)


@pytest.mark.requirement("T6.restored")
async def test_a_tenant_made_of_an_archive_has_all_that_the_other_has(
    database: Database, tmp_path: Path
) -> None:
    admin, app = await furnished(database, tmp_path)
    archive = await archived(database)

    loaded = await restored(admin, archive, database.spec(app))

    assert (loaded.unfinished, loaded.rows) == (1, archive.manifest.rows)
    before, after = await contents(database, ACME), await contents(database, GLOBEX)
    del before["tables"]["wf_run"], after["tables"]["wf_run"]  # its epochs begin anew
    assert before == after
    row = await tenants.fetch(admin, GLOBEX)
    assert (row.state, row.source, row.app_version) == ("provisioned", "api", 1)
    assert await admin.fetchval("SELECT due_at <= now() FROM insula.wake WHERE tenant = 'globex'")


async def test_under_the_same_id_a_tenant_comes_back_after_it_was_dropped(
    database: Database, tmp_path: Path
) -> None:
    admin, app = await furnished(database, tmp_path)
    archive, before = await archived(database), await contents(database, ACME)
    await dropped(database, ACME)

    await restored(admin, archive, database.spec(app), tenant=ACME)

    after = await contents(database, ACME)
    del before["tables"]["wf_run"], after["tables"]["wf_run"]
    assert before == after
    epochs = await admin.fetch("SELECT state, epoch FROM tenant_acme.wf_run ORDER BY state")
    assert [tuple(each) for each in epochs] == [("running", 0), ("succeeded", 7)]
    assert await admin.fetchval("SELECT epoch FROM tenant_acme.wf_fence") == 0


async def test_what_was_used_stays_behind_so_that_nothing_is_billed_twice(
    database: Database, tmp_path: Path
) -> None:
    admin, app = await furnished(database, tmp_path)
    await admin.execute("INSERT INTO tenant_acme.wf_usage (submitted) VALUES (7)")

    await restored(admin, await archived(database), database.spec(app))

    assert await admin.fetchval("SELECT count(*) FROM tenant_globex.wf_usage") == 0
    ledgers = "SELECT a.ledger = g.ledger FROM tenant_acme.wf_fence a, tenant_globex.wf_fence g"
    assert not await admin.fetchval(ledgers)


async def test_the_restored_tenant_works_and_its_application_may_what_it_might(
    database: Database, tmp_path: Path
) -> None:
    admin, app = await furnished(database, tmp_path)
    spec = database.spec(app)
    await restored(admin, await archived(database), spec)

    row = await ensure_provisioned(admin, admin, GLOBEX, spec)

    login = spec.logins(GLOBEX, row.rotation).as_app(database.target)
    application = await database.connect(login)
    await application.execute("INSERT INTO airport VALUES ('CDG')")
    assert await application.fetchval("SELECT note FROM airport WHERE code = 'CDG'") == "stamped"
    flight = "INSERT INTO flight (origin) VALUES ('CDG') RETURNING id"
    assert await application.fetchval(flight) == 501
    assert await application.fetchval("SELECT count(*) FROM first_class") == 500
    for refused in ("SELECT fares('first')", "SELECT * FROM wf_run"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await application.execute(refused)
    assert await admin.fetchval("SELECT count(*) FROM tenant_acme.airport") == 3
    assert await admin.fetchval("SELECT insula.submit('globex', 'report')") is not None
    assert (
        await admin.fetchval(
            "SELECT column_default FROM information_schema.columns"
            " WHERE table_schema = 'tenant_globex' AND column_name = 'note'"
        )
        == "'as in tenant_acme.airport'::text"
    )
    bodies = await admin.fetch(
        "SELECT pg_get_functiondef(oid) FROM pg_proc"
        " WHERE pronamespace = 'tenant_globex'::regnamespace"
    )
    assert len(bodies) == 8
    assert not [body for (body,) in bodies if "tenant_acme" in body]


async def test_only_the_runs_that_are_asked_for_are_taken(
    database: Database, tmp_path: Path
) -> None:
    admin, app = await furnished(database, tmp_path)
    everything = await archived(database)

    for runs, left in (("finished", 1), ("none", 0)):
        tenant = TenantId(f"with_{runs}")
        loaded = await restored(
            admin, everything, database.spec(app), tenant=tenant, runs=cast("Runs", runs)
        )
        schema = f"tenant_{tenant}"
        counts = [
            await admin.fetchval(f"SELECT count(*) FROM {schema}.{table}")
            for table in ("wf_run", "wf_event", "flight")
        ]
        assert (loaded.unfinished, counts) == (0, [left, left, 500])
        assert await admin.fetchval("SELECT count(*) FROM insula.wake") == 0
        fewer = (await archived(database, runs=cast("Runs", runs))).manifest
        assert {t.name: t.rows for t in fewer.tables if t.name in {"wf_run", "wf_event"}} == {
            "wf_run": left,
            "wf_event": left,
        }


async def test_there_is_nothing_of_a_tenant_that_can_not_be_made(
    database: Database, tmp_path: Path
) -> None:
    admin, app = await furnished(database, tmp_path)
    await admin.execute("CREATE DOMAIN public.code AS text")
    await admin.execute("CREATE TABLE tenant_acme.uses (code public.code)")
    archive = await archived(database)
    with pytest.raises(TenantExists, match="'acme' is there already"):
        await restored(admin, archive, database.spec(app), tenant=ACME)
    await dropped(database, ACME)
    await admin.execute("DROP DOMAIN public.code")

    with pytest.raises(RestoreFailed, match=r'type "public.code" does not exist'):
        await restored(admin, archive, database.spec(app))

    assert await admin.fetchval("SELECT to_regnamespace('tenant_globex')") is None
    assert await admin.fetchval("SELECT count(*) FROM insula.tenant WHERE id = 'globex'") == 0
    roles = [database.logins("globex").engine, database.logins("globex").app]
    assert (
        await admin.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = ANY($1::text[])", roles)
        == 0
    )


Change = Callable[[dict[str, Any]], object]


def changed(archive: ArchiveReader, change: Change, *, seal: bytes | None = None) -> io.BytesIO:
    """Return an archive with another manifest: `change` is given what it says."""
    manifest = json.loads(archive.sealed)
    change(manifest)
    file = io.BytesIO()
    writer = ArchiveWriter(file, mtime=0)
    for name in manifest["files"]:
        writer.add(name, archive.text(name))
    for table in archive.manifest.tables:
        if table.file is not None:
            with writer.table(table.name) as rows:
                for text in archive.rows(table):
                    rows.write(text)
    writer.add(MANIFEST, json.dumps(manifest).encode())
    writer.add(SEAL, archive.seal if seal is None else seal)
    writer.end()
    return file


def with_a_later_file(ledger: str, manifest: dict[str, Any]) -> None:
    """Have the tenant of a manifest be further than anybody is."""
    manifest[ledger].append({"number": 9999, "name": "later", "checksum": "c"})


async def refusal(file: io.BytesIO, spec: ProvisionSpec, *, foreign: bool = False) -> InsulaError:
    """Return what is said of an archive that is not taken."""
    with pytest.raises(InsulaError) as told:
        await verified(file, spec, foreign=foreign, report=ignore)
    return told.value


@pytest.mark.requirement("T6.archives")
async def test_an_archive_that_was_changed_is_not_taken(database: Database, tmp_path: Path) -> None:
    _, app = await furnished(database, tmp_path)
    spec, archive = database.spec(app), await archived(database)

    forged = await refusal(changed(archive, lambda m: m.update(tenant="globex")), spec)
    assert isinstance(forged, ArchiveInvalid)
    assert "was changed since this installation wrote it" in str(forged)
    for seal in (b"", b"\xff\xfe"):
        unsealed = await refusal(changed(archive, lambda _: None, seal=seal), spec)
        assert isinstance(unsealed, ArchiveInvalid)
    for change, problem in (
        (lambda m: m["tables"][0].update(rows=2), "'airport' of the archive is not what its"),
        (lambda m: m["files"].update({"schema.sql": "0" * 64}), "schema.sql of the archive is"),
        (lambda m: m["tables"].pop(-2), "has what its manifest does not name: data/wf_signal"),
        (lambda m: m.update(schema="public"), "names 'public' as the schema"),
        (lambda m: m.update(tenant="pg_x"), "is of no tenant"),
    ):
        told = await refusal(changed(archive, change), spec, foreign=True)
        assert (type(told), problem in str(told)) == (ArchiveInvalid, True), told


@pytest.mark.requirement("T6.archives")
async def test_only_an_archive_that_this_installation_can_use_is_taken(
    database: Database, tmp_path: Path
) -> None:
    _, app = await furnished(database, tmp_path)
    spec, whole = database.spec(app), io.BytesIO()
    await written(database, whole)
    archive = await verified(whole, spec, foreign=False, report=ignore)

    stranger = changed(archive, lambda m: m.update(installation=str(UUID(int=1))))
    assert isinstance(await refusal(stranger, spec), ArchiveForeign)
    await verified(stranger, spec, foreign=True, report=ignore)
    later = await refusal(changed(archive, lambda m: m.update(format=2)), spec)
    assert isinstance(later, ArchiveTooNew)
    for ledger in ("engine", "app"):
        newer = changed(archive, partial(with_a_later_file, ledger))
        ahead = await refusal(newer, spec, foreign=True)
        assert (type(ahead), "9999_later" in str(ahead)) == (SchemaVersionAhead, True), ledger
    assert isinstance(await refusal(whole, database.spec()), SchemaVersionAhead)
    edited = database.spec(migrations(tmp_path / "edited", everything="SELECT 1"))
    assert isinstance(await refusal(whole, edited), MigrationChecksumMismatch)
    with tarfile.open(fileobj=io.BytesIO(whole.getvalue())) as tar:
        end = tar.getmember(SEAL).offset
    for part in (0.0, 0.2, 0.9, 0.99):
        cut_off = io.BytesIO(whole.getvalue()[: int(end * part)])
        assert isinstance(await refusal(cut_off, spec), ArchiveInvalid)
    assert isinstance(await refusal(io.BytesIO(b"PK" + bytes(4096)), spec), ArchiveInvalid)


@pytest.mark.slow
async def test_a_death_at_any_statement_leaves_the_whole_tenant_or_nothing(
    database: Database, tmp_path: Path
) -> None:
    admin, app = await furnished(database, tmp_path)
    archive, spec, cut = await archived(database), database.spec(app), 0
    for cut in count(1, STRIDE):
        proxy = CuttingProxy(database.target, cut_at=cut, when=WHEN[cut % 2])
        async with proxy.running():
            try:
                await restored(await database.connect(proxy.target), archive, spec)
                break
            except DatabaseUnavailable:
                # The server may still be at the last statement: what holds the lock is waited for.
                await admin.execute("SELECT FROM insula.lock FOR UPDATE")
        made = await admin.fetchval("SELECT to_regnamespace('tenant_globex') IS NOT NULL")
        noted = await admin.fetchval("SELECT count(*) FROM insula.tenant WHERE id = 'globex'")
        assert (made, noted) in {(False, 0), (True, 1)}, f"cut {proxy.statements}"
        if made:
            await dropped(database, GLOBEX)

    assert cut > 3 * STRIDE
    assert await admin.fetchval("SELECT count(*) FROM tenant_globex.flight") == 500
