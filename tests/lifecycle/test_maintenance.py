"""Care for a tenant's tables, while the tenant may be at work in them."""

from __future__ import annotations

import re

import pytest

from orchestrator.lifecycle.maintenance import maintain
from orchestrator.model.errors import DatabaseUnavailable
from orchestrator.model.ids import TenantId
from orchestrator.model.maintenance import TableCare
from orchestrator.store.connect import Connection, translated
from orchestrator.store.migrate import engine_migrations
from tests.support.database import Database
from tests.support.proxy import CuttingProxy

ACME = TenantId("acme")
ENGINE_TABLES = sum(
    len(re.findall(r"^CREATE (?:UNLOGGED )?TABLE", each.sql, re.MULTILINE))
    for each in engine_migrations()
)
VACUUM = 4
"""The number of the first statement that does something, after those that look."""

FICKLE = """
CREATE FUNCTION tenant_acme.fickle (a int, b int) RETURNS int LANGUAGE sql IMMUTABLE
AS 'SELECT CASE WHEN a = b THEN 0 WHEN a > b THEN 1 ELSE -1 END';
CREATE OPERATOR CLASS tenant_acme.fickle FOR TYPE int USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 tenant_acme.fickle (int, int);
CREATE INDEX note_fickle ON tenant_acme.note (id tenant_acme.fickle);
"""
"""An index whose order can be changed behind its back."""

TURN_ROUND = """
CREATE OR REPLACE FUNCTION tenant_acme.fickle (a int, b int) RETURNS int LANGUAGE sql IMMUTABLE
AS 'SELECT CASE WHEN a = b THEN 0 WHEN a < b THEN 1 ELSE -1 END'
"""


@pytest.fixture
async def admin(database: Database) -> Connection:
    """Return the admin's connection to a database with tenant acme and its table of notes."""
    await database.provision("acme")
    admin = await database.connect()
    await admin.execute(
        "CREATE TABLE tenant_acme.note (id int PRIMARY KEY, text text);"
        "INSERT INTO tenant_acme.note SELECT each, 'x' FROM generate_series(1, 2000) AS each;"
        "DELETE FROM tenant_acme.note WHERE id > 100"
    )
    return admin


async def care_for_note(admin: Connection) -> TableCare:
    """Care for the table of notes alone, which comes first."""
    report = await maintain(admin, ACME, seconds=0.0)
    (care,) = report.tables
    assert (care.name, report.left) == ("note", ENGINE_TABLES)
    return care


@pytest.mark.requirement("T6.maintained")
async def test_dead_rows_go_and_statistics_are_fresh(admin: Connection) -> None:
    report = await maintain(admin, ACME, seconds=60.0)

    note = report.tables[0]
    assert [table.problem for table in report.tables] == [None] * (1 + ENGINE_TABLES)
    assert all(table.vacuumed for table in report.tables)
    assert (note.name, note.checked, report.left) == ("note", None, 0)
    assert 0 < note.bytes_after < note.bytes_before
    assert await admin.fetchval("SELECT reltuples FROM pg_class WHERE relname = 'note'") == 100


async def test_tables_are_cared_for_one_after_the_other(admin: Connection) -> None:
    names = [(await care_for_note(admin)).name]
    while (report := await maintain(admin, ACME, after=names[-1], seconds=0.0)).tables:
        names += [table.name for table in report.tables]
        assert len(names) + report.left == 1 + ENGINE_TABLES

    assert names == sorted(set(names))


async def test_a_table_that_somebody_holds_is_told_and_the_others_are_done(
    database: Database, admin: Connection
) -> None:
    other = await database.connect()
    await admin.execute("SET lock_timeout = '20ms'")
    async with other.transaction():
        await other.execute("LOCK TABLE tenant_acme.note IN SHARE UPDATE EXCLUSIVE MODE")

        note, *others = (await maintain(admin, ACME, seconds=60.0)).tables

    assert (note.vacuumed, (note.problem or "")[:22]) == (False, "somebody else holds it")
    assert [table.problem for table in others] == [None] * ENGINE_TABLES


async def test_a_table_of_another_owner_is_not_said_to_be_vacuumed(
    database: Database, admin: Connection
) -> None:
    stranger = await database.connect(database.as_engine("acme"))

    note = await care_for_note(stranger)

    assert not note.vacuumed
    assert "vacuum" in (note.problem or "")


async def test_an_index_that_can_not_be_computed_is_told(admin: Connection) -> None:
    await admin.execute(
        "CREATE FUNCTION tenant_acme.broken (int) RETURNS int LANGUAGE plpgsql IMMUTABLE"
        " AS 'BEGIN RETURN $1; END';"
        "CREATE INDEX note_broken ON tenant_acme.note (tenant_acme.broken(id));"
        "CREATE OR REPLACE FUNCTION tenant_acme.broken (int) RETURNS int LANGUAGE plpgsql IMMUTABLE"
        " AS 'BEGIN RETURN $1 / 0; END'"
    )

    note = await care_for_note(admin)

    assert (note.vacuumed, note.problem) == (False, "division by zero")


@pytest.mark.requirement("T6.maintained")
async def test_indexes_are_looked_into_where_amcheck_is_installed(admin: Connection) -> None:
    await admin.execute("CREATE SCHEMA checks; CREATE EXTENSION amcheck SCHEMA checks")
    await admin.execute(FICKLE)
    whole = await care_for_note(admin)
    await admin.execute(TURN_ROUND)

    broken = await care_for_note(admin)

    assert (whole.checked, whole.corrupt) == (3, [])  # its key, the other, and that of its TOAST
    assert broken.checked == 3
    assert [each.partition(":")[0] for each in broken.corrupt] == ["note_fickle"]
    assert broken.problem is None


async def test_a_death_in_the_middle_leaves_nothing_to_mend(
    database: Database, admin: Connection
) -> None:
    async with CuttingProxy(database.target, cut_at=VACUUM, when="after").running() as proxy:
        broken = await database.connect(proxy.target)
        with pytest.raises(DatabaseUnavailable), translated("maintenance can not be had"):
            await maintain(broken, ACME, seconds=60.0)

    assert (await care_for_note(admin)).vacuumed
