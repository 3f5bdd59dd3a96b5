"""A tenant with something of everything, and what is in a tenant's schema."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from orchestrator.archive.container import ArchiveReader
from orchestrator.archive.manifest import Manifest, Runs
from orchestrator.lifecycle.removal import remove
from orchestrator.lifecycle.transfer.dump import Dumped, dump
from orchestrator.model.ids import TenantId, new_run_id
from orchestrator.model.progress import Progress
from orchestrator.store.connect import Connection
from orchestrator.store.control import tenants
from orchestrator.store.migrate import Migration
from tests.support.database import Database, migrations

ACME = TenantId("acme")
GLOBEX = TenantId("globex")

OF_EVERYTHING = """
CREATE TYPE cabin AS ENUM ('economy', 'first');
CREATE TABLE airport (code text PRIMARY KEY, note text DEFAULT 'as in tenant_acme.airport');
CREATE TABLE flight (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin text NOT NULL REFERENCES airport,
    seats int[] NOT NULL DEFAULT '{}',
    cabin cabin NOT NULL DEFAULT 'economy',
    raw bytea,
    seen timestamptz NOT NULL DEFAULT '2013-01-01 12:00:00.123456+05',
    price double precision,
    twice int GENERATED ALWAYS AS (cardinality(seats) * 2) STORED
);
CREATE INDEX flight_by_origin ON flight (origin) WHERE cabin = 'first';
CREATE TABLE "odd ""name/" ("a column" text, n serial);
CREATE UNLOGGED TABLE seen (id int PRIMARY KEY);
CREATE TABLE month (day date NOT NULL) PARTITION BY RANGE (day);
CREATE TABLE january PARTITION OF month FOR VALUES FROM ('2013-01-01') TO ('2013-02-01');
CREATE VIEW first_class AS SELECT * FROM flight WHERE cabin = 'first';
CREATE MATERIALIZED VIEW busy AS SELECT origin, count(*) AS flights FROM flight GROUP BY origin;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN NEW.note := 'stamped'; RETURN NEW; END $$;
CREATE TRIGGER stamped BEFORE INSERT ON airport FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE FUNCTION fares(of cabin) RETURNS bigint LANGUAGE sql
BEGIN ATOMIC SELECT count(*) FROM flight WHERE cabin = of; END;
REVOKE ALL ON FUNCTION fares(cabin) FROM PUBLIC;
INSERT INTO airport VALUES ('JFK');
ALTER TABLE airport DISABLE TRIGGER stamped;
INSERT INTO airport VALUES ('LHR', E'a\\ttab, a \\\\ and a\\nline'), ('tenant_acme.', NULL);
ALTER TABLE airport ENABLE TRIGGER stamped;
INSERT INTO flight (origin, seats, cabin, raw, price)
SELECT CASE n % 2 WHEN 0 THEN 'JFK' ELSE 'LHR' END, ARRAY[n, NULL], 'first', '\\x00ff5c0a', n / 3.0
FROM generate_series(1, 500) AS n;
INSERT INTO "odd ""name/" ("a column") VALUES ('tenant_acme.x');
INSERT INTO seen VALUES (1);
INSERT INTO month VALUES ('2013-01-15');
REFRESH MATERIALIZED VIEW busy;
"""

RUN = """
INSERT INTO tenant_acme.wf_run
    (id, workflow, version, state, queue, priority, epoch, input, finished_at)
VALUES ($1, 'report', '1', $2, 'default', 0, 7, '{"month": 1}',
        CASE WHEN $2 <> 'running' THEN now() END)
"""
EVENT = "INSERT INTO tenant_acme.wf_event VALUES ($1, 0, 7, 'a', '2013-01-01', '[]')"


def ignore(_: Progress) -> None:
    """Take a report that no test is about."""


async def furnished(
    database: Database, directory: Path
) -> tuple[Connection, tuple[Migration, ...]]:
    """Make tenant acme with something of everything, a finished run and a running one."""
    app = migrations(directory / "migrations", everything=OF_EVERYTHING)
    await database.provision("acme", app)
    admin = await database.connect()
    await admin.execute("UPDATE tenant_acme.wf_fence SET epoch = 7")
    for state in ("succeeded", "running"):
        await add_run(admin, state)
    return admin, app


async def add_run(admin: Connection, state: str) -> UUID:
    """Add a run with one event to tenant acme."""
    run = new_run_id()
    await admin.execute(RUN, run, state)
    await admin.execute(EVENT, run)
    return run


async def written(
    database: Database, file: BinaryIO, *, runs: Runs = "all", tenant: TenantId = ACME
) -> Manifest:
    """Write the archive of a tenant into `file`."""
    admin = await database.connect()
    row = await tenants.fetch(admin, tenant)
    dumped = Dumped(row=row, target=database.target, spec=database.spec())
    return await dump(admin, dumped, file, runs=runs, report=ignore)


async def archived(database: Database, *, runs: Runs = "all") -> ArchiveReader:
    """Return the archive of tenant acme."""
    file = io.BytesIO()
    await written(database, file, runs=runs)
    return ArchiveReader(file)


async def contents(database: Database, tenant: TenantId) -> dict[str, Any]:
    """Return what tells two tenants apart: digests of all rows, and where the sequences are."""
    manifest = await written(database, io.BytesIO(), tenant=tenant)
    return {
        "tables": {each.name: (each.columns, each.rows, each.sha256) for each in manifest.tables},
        "sequences": manifest.sequences,
        "grants": manifest.grants,
        "refresh": manifest.refresh,
        "engine": manifest.engine,
        "app": manifest.app,
    }


async def dropped(database: Database, tenant: TenantId) -> None:
    """Delete a tenant, whatever it has."""
    admin = await database.connect()
    row = await tenants.mark_deleting(admin, tenant, "purge", forced=True)
    await remove(admin, row, database.spec())
