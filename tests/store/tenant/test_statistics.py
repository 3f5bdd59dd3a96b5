"""A tenant in figures: right, and within the time that was given."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.model.figures import TenantFigures
from orchestrator.model.ids import TenantId, new_run_id, run_id_at
from orchestrator.store.connect import Connection
from orchestrator.store.tenant import statistics
from tests.support.database import Database

ACME = TenantId("acme")
NOW = timedelta()

RUN = """
INSERT INTO tenant_acme.wf_run (id, workflow, version, state, queue, priority, epoch, input, error,
                                created_at, started_at, finished_at)
SELECT $1, 'report', '1', $2, 'default', 0, 0, '{}',
       CASE WHEN $2 IN ('failed', 'dead') THEN '{"type": "ValueError"}'::json END,
       created_at, created_at, CASE WHEN $2 NOT IN ('queued') THEN created_at + $4 END
FROM (SELECT clock_timestamp() - $3::interval AS created_at) AS moment
"""


async def add(
    admin: Connection, state: str, *, ago: timedelta = NOW, took: timedelta = NOW
) -> None:
    """Add a run of tenant acme that was accepted so long ago."""
    seconds = (await admin.fetchval("SELECT clock_timestamp()") - ago).timestamp()
    run = new_run_id() if ago == NOW else run_id_at(seconds)
    await admin.execute(RUN, run, state, ago, took)


@pytest.fixture
async def admin(database: Database) -> Connection:
    """Return the admin's connection to a database with tenant acme and its table of notes."""
    await database.provision("acme")
    admin = await database.connect()
    await admin.execute(
        "CREATE TABLE tenant_acme.note (text text);"
        "INSERT INTO tenant_acme.note SELECT 'x' FROM generate_series(1, 42)"
    )
    return admin


async def figures(
    database: Database, admin: Connection, *, seconds: float = 10.0, exact: bool = False
) -> TenantFigures:
    """Return tenant acme in figures."""
    logins = database.logins("acme")
    roles = [logins.engine, logins.app]
    return await statistics.read(admin, ACME, roles, seconds=seconds, exact=exact)


@pytest.mark.requirement("T9.figures")
async def test_runs_are_counted_by_state_and_by_time(database: Database, admin: Connection) -> None:
    for seconds in (1, 2, 3):
        await add(admin, "succeeded", took=timedelta(seconds=seconds))
    await add(admin, "failed", ago=timedelta(hours=2), took=timedelta(seconds=9))
    await add(admin, "dead", ago=timedelta(days=2))
    await add(admin, "queued")

    found = await figures(database, admin)

    assert found.runs == {"dead": 1, "failed": 1, "queued": 1, "succeeded": 3}
    assert found.hour is not None
    assert found.day is not None
    assert (found.hour.accepted, found.hour.succeeded, found.hour.failed) == (4, 3, 0)
    assert found.hour.p50 == 2.0
    assert found.hour.p95 == pytest.approx(2.9)
    assert (found.day.accepted, found.day.failed, found.day.p50) == (5, 1, 2.5)
    assert [(each.type, each.runs) for each in found.errors or ()] == [("ValueError", 1)]
    assert found.unread == []


@pytest.mark.requirement("T9.figures")
async def test_tables_have_a_size_and_rows_are_counted_when_asked(
    database: Database, admin: Connection
) -> None:
    await database.connect(database.as_app("acme"))
    await admin.execute("ANALYZE tenant_acme.note")

    shown, counted = await figures(database, admin), await figures(database, admin, exact=True)

    (note,) = (table for table in shown.tables or () if table.name == "note")
    assert (note.estimated_rows, note.rows) == (42, None)
    assert note.bytes >= 8192
    assert shown.schema_bytes == sum(table.bytes for table in shown.tables or ())
    assert shown.connections == 1
    assert {table.name: table.rows for table in counted.tables or ()}["note"] == 42
    assert all(table.rows is not None for table in counted.tables or ())


async def test_what_is_locked_is_left_out_and_named(database: Database, admin: Connection) -> None:
    other = await database.connect()
    await admin.execute("SET lock_timeout = '20ms'")
    async with other.transaction():
        await other.execute("LOCK TABLE tenant_acme.wf_run IN ACCESS EXCLUSIVE MODE")

        found = await figures(database, admin)

    assert found == TenantFigures(
        tenant="acme", connections=0, unread=["runs", "hour, day", "errors", "tables"]
    )


async def test_nothing_is_asked_when_the_time_is_over(
    database: Database, admin: Connection
) -> None:
    found = await figures(database, admin, seconds=0.0, exact=True)

    assert found.connections is None
    assert found.unread == ["runs", "hour, day", "errors", "connections", "tables"]
