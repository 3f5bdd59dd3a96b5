"""What is kept of tenants in figures: when it is due, who reads it, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

import pytest

from orchestrator.model.figures import RunFigures, TableFigures, TenantFigures
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import Connection
from orchestrator.store.control import configuration, figures, holds, tenants
from orchestrator.store.control.figures import KeptFigures, Taken
from tests.support.database import Database

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
DAY = RunFigures(accepted=3, succeeded=2, failed=1, p50=0.5, p95=2.0)
TABLES = [
    TableFigures(name="note", bytes=8192, estimated_rows=40, rows=42),
    TableFigures(name="wf_run", bytes=16384, estimated_rows=6, rows=6),
]
FOUND = TenantFigures(
    tenant="acme",
    runs={"dead": 1, "failed": 1, "succeeded": 4},
    day=DAY,
    schema_bytes=24_576,
    tables=TABLES,
)
LATER = """
UPDATE insula.figures
SET due_at = due_at - interval '1 hour', read_at = read_at - interval '1 hour'"""


@pytest.fixture
async def admin(database: Database) -> Connection:
    """Return the admin's connection to a database with tenant acme, which has tables."""
    await database.provision("acme")
    return await database.connect()


async def kept(admin: Connection, tenant: TenantId = ACME) -> KeptFigures | None:
    """Return what is kept of a tenant."""
    found = await figures.fetch_all(admin)
    return next((each for each in found if each.tenant == tenant), None)


async def taken(admin: Connection) -> Taken:
    """Take acme, whose figures are due."""
    found = await figures.take(admin, 60.0)
    assert found is not None
    assert found.tenant == ACME
    return found


async def read(admin: Connection, found: TenantFigures = FOUND, taken: Taken | None = None) -> None:
    """Keep figures of acme."""
    row = await tenants.fetch(admin, ACME)
    await figures.store(admin, row, found, age=0.0, taken=taken)


async def due(admin: Connection) -> Sequence[str]:
    """Return the tenants that are due, now or later."""
    rows = await admin.fetch("SELECT tenant FROM insula.figures WHERE due_at IS NOT NULL")
    return [row[0] for row in rows]


@pytest.mark.requirement("T9.cached")
async def test_what_was_read_is_kept_with_its_age(admin: Connection) -> None:
    await read(admin)
    await admin.execute(LATER)

    found = await kept(admin)

    assert found is not None
    assert (found.runs, found.failed, found.day_accepted, found.day_p95) == (6, 2, 3, 2.0)
    assert (found.schema_bytes, found.tables, found.estimated_rows) == (24_576, 2, 46)
    assert (found.rows, found.rows_counted_at is None) == (48, False)
    assert found.age == pytest.approx(3600, abs=60)


async def test_who_was_never_read_or_never_used_is_there_without_figures(
    admin: Connection,
) -> None:
    await tenants.declare(admin, [(GLOBEX, "{}")])

    acme, globex = await kept(admin), await kept(admin, GLOBEX)

    assert acme is not None
    assert globex is not None
    assert (acme.used, acme.read_at, acme.runs) == (True, None, None)
    assert (globex.used, globex.read_at) == (False, None)


async def test_rows_that_were_counted_are_kept_by_a_reading_that_counts_none(
    admin: Connection,
) -> None:
    await read(admin)
    uncounted = [TableFigures(name="note", bytes=1, estimated_rows=50)]
    await read(admin, TenantFigures(tenant="acme", tables=uncounted, schema_bytes=1))

    found = await kept(admin)

    assert found is not None
    assert (found.estimated_rows, found.rows, found.runs) == (50, 48, None)


async def test_a_tenant_is_due_when_it_has_tables_and_again_when_it_was_used(
    admin: Connection,
) -> None:
    await read(admin, taken=await taken(admin))
    assert await due(admin) == []
    assert await figures.take(admin, 60.0) is None

    await configuration.touch(admin, {ACME: "a hash"})

    assert await due(admin) == ["acme"]
    assert await figures.take(admin, 60.0) is None  # not within minutes
    await admin.execute(LATER)
    assert (await taken(admin)).tenant == ACME


async def test_what_is_used_while_it_is_read_is_due_once_more(admin: Connection) -> None:
    token = await taken(admin)
    await configuration.touch(admin, {ACME: "a hash"})

    await read(admin, taken=token)

    assert await due(admin) == ["acme"]


async def test_of_two_nodes_one_reads_and_the_other_when_that_came_to_no_end(
    admin: Connection,
) -> None:
    lost = await taken(admin)
    assert await figures.take(admin, 60.0) is None

    await admin.execute(LATER)
    again = await taken(admin)
    await read(admin, taken=lost)

    assert await due(admin) == ["acme"]
    await read(admin, taken=again)
    assert await due(admin) == []


async def test_a_tenant_that_a_verb_holds_waits(admin: Connection) -> None:
    hold = await holds.take(admin, ACME, "move", uuid4())
    assert await figures.take(admin, 60.0) is None

    await holds.release(admin, hold)
    assert (await taken(admin)).tenant == ACME


async def test_figures_follow_a_tenant_that_is_renamed(admin: Connection) -> None:
    await read(admin)
    row = await tenants.fetch(admin, ACME)

    await tenants.rename(admin, row, GLOBEX, "{}")
    await figures.store(admin, row, FOUND, age=0.0)  # a reading that had begun before

    found = await kept(admin, GLOBEX)
    assert found is not None
    assert found.runs == 6
    assert await admin.fetchval("SELECT count(*) FROM insula.figures") == 1


@pytest.mark.parametrize("archive", [None, "acme.tar"])
async def test_a_tenant_that_is_deleted_or_archived_leaves_no_figures(
    admin: Connection, archive: str | None
) -> None:
    await read(admin)
    row = await tenants.fetch(admin, ACME)
    await tenants.mark_deleting(admin, ACME, "purge", forced=True)

    await tenants.bury(admin, ACME, archive)
    await figures.store(admin, row, FOUND, age=0.0)

    assert await admin.fetchval("SELECT count(*) FROM insula.figures") == 0


async def test_figures_from_where_a_tenant_has_moved_away_are_not_kept(admin: Connection) -> None:
    row = await tenants.fetch(admin, ACME)
    await tenants.move(admin, ACME, "eu", kept="control")

    await figures.store(admin, row, FOUND, age=0.0)

    found = await kept(admin)
    assert found is not None
    assert found.read_at is None
    assert await due(admin) == ["acme"]


async def test_a_tenant_unused_for_a_day_is_quiet_once_it_was_read(admin: Connection) -> None:
    await admin.execute("UPDATE insula.tenant SET last_active_at = now() - interval '25 hours'")
    before = await kept(admin)
    await read(admin)
    after = await kept(admin)

    assert before is not None
    assert after is not None
    assert (before.quiet, after.quiet) == (False, True)
