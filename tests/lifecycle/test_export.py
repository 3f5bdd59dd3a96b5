"""A tenant's data in open formats, and into another tenant: all of it, or nothing."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.archive.export import ExportReader, Kind, pack
from orchestrator.lifecycle.transfer.export import write_export
from orchestrator.lifecycle.transfer.imports import import_rows
from orchestrator.model.errors import ArchiveInvalid, ImportRefused
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import Connection
from tests.lifecycle.wholes import ACME, GLOBEX, furnished, ignore
from tests.support.database import Database, migrations

TABLES = ("airport", "flight", "january", 'odd "name/', "seen")


async def exported(admin: Connection, directory: Path, kind: Kind) -> Path:
    """Export tenant acme into a directory."""
    file = io.BytesIO()
    await write_export(admin, ACME, file, kind=kind, keys=None, report=ignore)
    path = directory / kind
    ExportReader(file).unpack(path)
    return path


def packed(path: Path) -> ExportReader:
    """Return the export in a directory as it is sent."""
    file = io.BytesIO()
    pack(path, file)
    return ExportReader(file)


async def rows_of(admin: Connection, tenant: TenantId) -> dict[str, Any]:
    """Return all rows of the application's tables."""
    found = {}
    for table in TABLES:
        name = '"' + table.replace('"', '""') + '"'
        query = (
            f"SELECT json_agg(to_json(t)::text ORDER BY t::text) FROM tenant_{tenant}.{name} AS t"
        )
        found[table] = await admin.fetchval(query)
    return found


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.requirement("T6.exported")
async def test_what_is_exported_can_be_imported_into_another_tenant(
    database: Database, tmp_path: Path, kind: Kind
) -> None:
    admin, app = await furnished(database, tmp_path)
    path = await exported(admin, tmp_path, kind)
    await database.provision("globex", app)
    await admin.execute(
        "TRUNCATE tenant_globex.airport, tenant_globex.flight, tenant_globex.seen,"
        ' tenant_globex.month, tenant_globex."odd ""name/"'
        "; ALTER TABLE tenant_globex.airport DISABLE TRIGGER stamped"
        "; ALTER SEQUENCE tenant_globex.flight_id_seq RESTART"
    )

    assert await import_rows(admin, GLOBEX, packed(path), report=ignore) == 506

    assert await rows_of(admin, GLOBEX) == await rows_of(admin, ACME)
    flight = "INSERT INTO tenant_globex.flight (origin) VALUES ('JFK') RETURNING id"
    assert await admin.fetchval(flight) == 501
    runs = [json.loads(line) for line in (path / "wf_run.jsonl").read_text().splitlines()]
    assert [(run["state"], run["input"]) for run in runs] == [("succeeded", {"month": 1})]


async def test_the_files_are_read_by_any_program(database: Database, tmp_path: Path) -> None:
    admin, _ = await furnished(database, tmp_path)

    comma, lines = [await exported(admin, tmp_path, kind) for kind in ("csv", "jsonl")]

    with (comma / "airport.csv").open(newline="") as file:
        airports = list(csv.DictReader(file))
    assert airports[1]["note"] == "a\ttab, a \\ and a\nline"
    objects = [json.loads(line) for line in (lines / "airport.jsonl").read_text().splitlines()]
    assert objects == [{**each, "note": each["note"] or None} for each in airports]
    assert (comma / "odd%20%22name%2F.csv").exists()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
async def test_one_row_that_does_not_fit_keeps_all_of_them_out_and_is_named(
    database: Database, tmp_path: Path, kind: Kind
) -> None:
    admin, app = await furnished(database, tmp_path)
    path = await exported(admin, tmp_path, kind)
    await database.provision("globex", app)
    await admin.execute(
        "DELETE FROM tenant_globex.flight; DELETE FROM tenant_globex.airport WHERE code <> 'LHR'"
    )

    line = {"csv": 4, "jsonl": 2}[kind]  # the note before has a line break in it
    problem = rf"line {line} of airport.{kind} can not .* table 'airport': duplicate key"
    with pytest.raises(ImportRefused, match=problem):
        await import_rows(admin, GLOBEX, packed(path), report=ignore)

    assert await admin.fetchval("SELECT count(*) FROM tenant_globex.airport") == 1
    await admin.execute("ALTER TABLE tenant_globex.airport DROP COLUMN note")
    with pytest.raises(ImportRefused, match="table 'airport' has no column note"):
        await import_rows(admin, GLOBEX, packed(path), report=ignore)
    (path / f"airport.{kind}").write_text("changed")
    with pytest.raises(ArchiveInvalid, match=f"airport.{kind} of the export is not what"):
        await import_rows(admin, GLOBEX, packed(path), report=ignore)


async def test_no_table_of_the_tenant_stands_in_for_what_is_ours(
    database: Database, tmp_path: Path
) -> None:
    app = migrations(
        tmp_path / "app", own="CREATE TABLE import_line (content text); CREATE TABLE runs ()"
    )
    await database.provision("acme", app)
    await database.provision("globex", app)
    admin = await database.connect()
    await admin.execute("INSERT INTO tenant_acme.import_line VALUES ('one')")

    path = await exported(admin, tmp_path, "jsonl")
    await import_rows(admin, GLOBEX, packed(path), report=ignore)

    assert await admin.fetchval("SELECT array_agg(content) FROM tenant_globex.import_line") == [
        "one"
    ]
