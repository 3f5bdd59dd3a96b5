"""A schema that exists becomes a tenant: all of it or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.lifecycle.adoption import adopt
from orchestrator.lifecycle.provision import ensure_provisioned
from orchestrator.model.adoption import AdoptionReport, AdoptSchema
from orchestrator.model.errors import (
    AdoptionRefused,
    DatabaseUnavailable,
    LockNotHad,
    TenantExists,
    TenantNotFound,
)
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import Connection
from orchestrator.store.control import tenants
from orchestrator.store.migrate import Migration
from tests.support.database import Database, migrations
from tests.support.proxy import CuttingProxy

ACME = TenantId("acme")
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "adopt-a-schema.md"
FLIGHT = """
CREATE TYPE tail AS ENUM ('red', 'blue');
CREATE TABLE flight (id bigserial PRIMARY KEY, delay int CHECK (delay >= 0), tail tail);
CREATE INDEX flight_by_delay ON flight (delay);
CREATE VIEW late AS SELECT id FROM flight WHERE delay > 60;
CREATE FUNCTION worst() RETURNS int LANGUAGE sql AS 'SELECT max(delay) FROM flight';
"""
ADD_DAY = "ALTER TABLE flight ADD day date;"


@pytest.fixture
async def admin(database: Database) -> Connection:
    """Return the admin's connection to a database where acme is registered and never used."""
    connection = await database.connect()
    await tenants.register(connection, ACME, "{}")
    return connection


async def old(admin: Connection, schema: str = "legacy", more: str = "") -> None:
    """Make what an application made before it had tenants, with two flights."""
    await admin.execute(
        f'CREATE SCHEMA IF NOT EXISTS "{schema}"; SET search_path = "{schema}"; {FLIGHT} {more};'
        "INSERT INTO flight (delay) VALUES (1), (90); RESET search_path"
    )


async def adopted(
    admin: Connection,
    database: Database,
    files: tuple[Migration, ...] = (),
    schema: str = "legacy",
    **wanted: Any,
) -> AdoptionReport:
    """Adopt the schema as acme's."""
    return await adopt(admin, ACME, AdoptSchema(schema=schema, **wanted), database.spec(files))


@pytest.mark.parametrize("schema", ["legacy", "public", "Old Things"])
@pytest.mark.requirement("T6.adopted")
async def test_a_schema_becomes_a_tenant_whose_tasks_find_its_tables(
    database: Database, admin: Connection, tmp_path: Path, schema: str
) -> None:
    await old(admin, schema)
    files = migrations(tmp_path, flight=FLIGHT, add_day=ADD_DAY)

    report = await adopted(admin, database, files, schema)
    row = await ensure_provisioned(admin, admin, ACME, database.spec(files))

    assert (report.at, report.becomes, report.differences) == (1, "tenant_acme", [])
    assert (row.state, row.app_version) == ("provisioned", 2)
    app = await database.connect(database.as_app("acme"))
    assert await app.fetchval("SELECT worst() FROM late") == 90
    await app.execute("INSERT INTO flight (delay, tail, day) VALUES (5, 'red', '2026-01-01')")
    engine = await database.connect(database.as_engine("acme"))
    assert await engine.fetchval("SELECT count(*) FROM tenant_acme.wf_run") == 0
    left = "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace($1)"
    assert await admin.fetchval(left, f'"{schema}"') == 0


async def test_a_dry_run_tells_the_plan_and_changes_nothing(
    database: Database, admin: Connection, tmp_path: Path
) -> None:
    await old(admin, "public")
    files = migrations(tmp_path, flight=FLIGHT)
    state = (
        "SELECT (SELECT count(*) FROM pg_namespace), (SELECT count(*) FROM pg_roles),"
        " to_regclass('public.flight') IS NOT NULL, (SELECT state FROM insula.tenant)"
    )
    before = await admin.fetchrow(state)

    report = await adopted(admin, database, files, "public", dry_run=True)

    assert await admin.fetchrow(state) == before
    assert report.plan[:2] == [
        'CREATE SCHEMA "tenant_acme"',
        'ALTER TABLE public.flight SET SCHEMA "tenant_acme"',
    ]
    assert report.plan[-1] == "note the migrations up to 0001 as applied"
    assert (report.obstacles, report.at) == ([], 1)


ENTANGLED = """
CREATE TABLE wf_run ();
CREATE TYPE public.colour AS ENUM ('red');
ALTER TABLE flight ADD c public.colour;
CREATE TABLE public.log (flight bigint REFERENCES legacy.flight);
CREATE VIEW public.seen AS SELECT id FROM legacy.late;
CREATE FUNCTION public.told() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER told AFTER INSERT ON flight EXECUTE FUNCTION public.told();
CREATE EXTENSION citext SCHEMA legacy;
"""


async def test_all_that_stands_in_the_way_is_told_and_nothing_is_changed(
    database: Database, admin: Connection
) -> None:
    await old(admin, more=ENTANGLED)

    with pytest.raises(AdoptionRefused) as refused:
        await adopted(admin, database)
    report = await adopted(admin, database, dry_run=True)

    assert refused.value.obstacles == report.obstacles
    assert report.obstacles == [
        "the name wf_run is the engine's",
        "column legacy.flight.c has type public.colour",
        "foreign key log_flight_fkey of public.log needs legacy.flight",
        "trigger told of legacy.flight calls public.told()",
        "view seen of public.seen needs legacy.late",
        "the extension citext lives in it: ALTER EXTENSION citext SET SCHEMA public",
    ]
    assert await admin.fetchval("SELECT to_regnamespace('tenant_acme')") is None
    assert await admin.fetchval("SELECT state FROM insula.tenant WHERE id = 'acme'") == "registered"


async def test_schemas_that_are_nobodys_to_take_are_refused(
    database: Database, admin: Connection
) -> None:
    await database.provision("globex")
    await admin.execute('CREATE COLLATION public.odd FROM "C"')

    for schema, obstacle in (
        ("pg_catalog", "it is not one of the application's"),
        ("information_schema", "it is not one of the application's"),
        ("insula", "it is not one of the application's"),
        ("nowhere", "there is no such schema"),
        ("ä" * 40, "there is no such schema"),
        ("a\0b", "there is no such schema"),
        ("tenant_globex", "it is a tenant's"),
        ("public", "the collation odd does not move by itself"),
    ):
        report = await adopted(admin, database, schema=schema, dry_run=True)
        assert [each.partition(":")[0] for each in report.obstacles] == [obstacle]


async def test_what_somebody_should_know_is_a_notice(database: Database, admin: Connection) -> None:
    web = f"{database.role_prefix}_web"
    await admin.execute(f"CREATE ROLE {web}; CREATE EXTENSION citext SCHEMA public")
    await old(
        admin,
        "public",
        f"GRANT SELECT ON flight TO {web};"
        "CREATE FUNCTION all_of_them() RETURNS bigint LANGUAGE sql"
        " AS 'SELECT count(*) FROM public.flight'",
    )

    report = await adopted(admin, database, schema="public", dry_run=True)

    assert report.notices == [
        "the text of function all_of_them names the schema public",
        f"{web} has rights on its tables, and keeps them",
        "the extension citext stays in public: tasks have to write public.name of it",
    ]


async def test_what_others_own_is_the_admins_afterwards(
    database: Database, admin: Connection
) -> None:
    web = f"{database.role_prefix}_web"
    await admin.execute(f"CREATE ROLE {web}")
    await old(
        admin, more=f"ALTER TABLE flight OWNER TO {web}; ALTER FUNCTION worst() OWNER TO {web}"
    )

    await adopted(admin, database)

    owned = "SELECT count(*) FROM pg_shdepend WHERE refobjid = $1::regrole AND deptype = 'o'"
    assert await admin.fetchval(owned, web) == 0


async def test_a_schema_that_no_number_of_migrations_makes_needs_a_word(
    database: Database, admin: Connection, tmp_path: Path
) -> None:
    await old(admin, more="ALTER TABLE flight ADD note text")
    files = migrations(tmp_path, flight=FLIGHT, add_day=ADD_DAY)

    with pytest.raises(AdoptionRefused, match="say with --at N") as refused:
        await adopted(admin, database, files)
    with pytest.raises(AdoptionRefused, match="there are 2 migrations, and no 0003"):
        await adopted(admin, database, files, at=3)
    report = await adopted(admin, database, files, at=1)

    assert refused.value.obstacles[1:] == ["column flight.note is extra: text"]
    assert (report.at, report.differences) == (1, ["column flight.note is extra: text"])


async def test_a_tenant_that_has_a_schema_or_is_not_registered_adopts_none(
    database: Database, admin: Connection
) -> None:
    await old(admin)
    await database.provision("globex")
    wanted = AdoptSchema(schema="legacy")

    with pytest.raises(TenantExists, match="has a schema of its own already"):
        await adopt(admin, TenantId("globex"), wanted, database.spec())
    with pytest.raises(TenantNotFound):
        await adopt(admin, TenantId("umbrella"), wanted, database.spec())


async def test_tables_that_somebody_uses_are_not_waited_for_long(
    database: Database, admin: Connection
) -> None:
    await old(admin, "public")
    user = await database.connect()
    spec = database.spec()
    async with user.transaction():
        await user.execute("LOCK TABLE public.flight IN ACCESS SHARE MODE")
        with pytest.raises(LockNotHad):
            await adopt(admin, ACME, AdoptSchema(schema="public"), spec, lock_timeout="50ms")

    assert (await adopted(admin, database, schema="public")).at == 0


async def test_the_way_back_that_the_page_shows_leads_back(
    database: Database, admin: Connection
) -> None:
    corp = TenantId("acme_corp")
    wanted = AdoptSchema(schema="legacy_acme")
    await tenants.register(admin, corp, "{}")
    await old(admin, "legacy_acme")
    everything = (
        "SELECT array_agg(relname::text ORDER BY relname) FROM pg_class"
        " WHERE relnamespace = 'legacy_acme'::regnamespace"
    )
    before = await admin.fetchval(everything)
    await adopt(admin, corp, wanted, database.spec())

    await admin.execute(way_back().replace("insula_", f"{database.role_prefix}_"))

    assert await admin.fetchval(everything) == before
    await tenants.register(admin, corp, "{}")
    assert (await adopt(admin, corp, wanted, database.spec())).becomes == "tenant_acme_corp"


def way_back() -> str:
    """Return the SQL of the page."""
    _, _, after = PAGE.read_text(encoding="utf-8").partition("```sql\n")
    return after.partition("```")[0]


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("cut_at", range(3, 60, 14))
async def test_an_end_at_any_statement_leaves_the_schema_or_the_tenant(
    database: Database, admin: Connection, cut_at: int, when: Any
) -> None:
    await old(admin)
    async with CuttingProxy(database.target, cut_at=cut_at, when=when).running() as proxy:
        broken = await database.connect(proxy.target)
        with pytest.raises(DatabaseUnavailable):
            await adopted(broken, database)

    assert await admin.fetchval("SELECT count(*) FROM legacy.flight") == 2
    await adopted(admin, database)
    assert await admin.fetchval("SELECT count(*) FROM tenant_acme.flight") == 2
