"""Migrations over all tenants of a node, while they are at work."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from orchestrator.daemon.audit import TenantAudit
from orchestrator.daemon.migration import TRIES, TenantMigrations
from orchestrator.http.audit import Record
from orchestrator.model.errors import MigrationChecksumMismatch, TenantNotFound, TenantQuarantined
from orchestrator.model.ids import TenantId
from orchestrator.model.migration import MigrateTenants, MigrationReport
from orchestrator.model.progress import Progress, unheard
from orchestrator.settings.load import Snapshot
from orchestrator.store.migrate import engine_migrations
from supervisors.slot import SlotState
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_why import platform_of
from tests.supervisors.workflows import GATES
from tests.support.database import Database, migrations

FLIGHT = "CREATE TABLE flight (id int PRIMARY KEY, delay int);"
NOT_NULL = "ALTER TABLE flight\n    ALTER COLUMN delay SET NOT NULL;"
AT_ITS_PLACE = r'0002_require_delay.sql:1: column "delay" of .* contains null values'
"""What fails where a flight has no delay."""

THREE = ("acme", "globex", "initech")


def declared(tmp_path: Path, *tenants: str) -> Snapshot:
    """Return a configuration that names a directory of migrations."""
    (tmp_path / "migrations").mkdir(exist_ok=True)
    return msgspec.structs.replace(snapshot(tenants), migrations_path=tmp_path / "migrations")


def add(tmp_path: Path, **files: str) -> None:
    """Write further migrations."""
    migrations(tmp_path / "migrations", **files)


async def migrate(node: Node, **wanted: object) -> MigrationReport:
    """Migrate as the daemon does, with less patience for locks."""
    service = TenantMigrations(node.root, node.tenants, lock_timeout="50ms", pause=0.02)
    audit = TenantAudit(node.control, node.name, node.ground.standing)
    request = msgspec.convert(wanted, MigrateTenants)
    return await service.run(request, Record(audit, "a test"), unheard)


async def provisioned(node: Node, tmp_path: Path, **flights: str) -> None:
    """Provision all tenants with their table of flights; some get a flight without a delay."""
    add(tmp_path, create_flight=FLIGHT)
    await migrate(node, tenants=[*node.root.slots])
    for tenant in flights:
        await node.sql(f"INSERT INTO tenant_{tenant}.flight (id) VALUES (1)")


async def applied(node: Node, tenant: str) -> int:
    """Return how many of the application's migrations the tenant has."""
    count: int = await node.sql(
        f"SELECT count(*) FROM tenant_{tenant}.wf_migration WHERE ledger = 'app'"
    )
    return count


async def test_all_provisioned_tenants_are_migrated_and_the_audit_says_so(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, declared(tmp_path, *THREE)) as node:
        for tenant in ("acme", "globex"):
            await node.tenants.prepare(TenantId(tenant))
        add(tmp_path, create_flight=FLIGHT, add_day="ALTER TABLE flight ADD day date;")
        told: list[Progress] = []

        service = TenantMigrations(node.root, node.tenants)
        audit = TenantAudit(node.control, node.name, node.ground.standing)
        report = await service.run(MigrateTenants(), Record(audit, "a test"), told.append)
        again = await migrate(node)

        assert [(each.tenant, each.files) for each in report.migrated] == [
            (tenant, ["0001_create_flight", "0002_add_day"]) for tenant in ("acme", "globex")
        ]
        assert (again.migrated, again.failed, again.up_to_date) == ([], [], 2)
        shown = await platform_of(node).read_tenant(TenantId("acme"))
        assert (shown.engine_version, shown.app_version) == (len(engine_migrations()), 2)
        assert [(each.done, each.total, each.unit) for each in told] == [
            (done, 2, "tenants") for done in range(3)
        ]
        assert await node.sql("SELECT to_regnamespace('tenant_initech')") is None
        noted = await audit.read(TenantId("acme"), limit=1, cursor=None)
        assert [(each.operation, each.subject, each.outcome) for each in noted.entries] == [
            ("tenant.migrate", "0001_create_flight, 0002_add_day", "done")
        ]


@pytest.mark.requirement("T4.failure")
async def test_a_failing_tenant_is_quarantined_and_the_others_go_on(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, declared(tmp_path, *THREE)) as node:
        await provisioned(node, tmp_path, globex="has one")
        add(tmp_path, require_delay=NOT_NULL)

        report = await migrate(node)

        assert [each.tenant for each in report.migrated] == ["acme", "initech"]
        (failed,) = report.failed
        file = tmp_path / "migrations" / "0002_require_delay.sql"
        assert (failed.tenant, failed.code) == ("globex", "migration_failed")
        assert failed.data["file"] == str(file)
        assert (failed.data["sqlstate"], failed.data["tenant"]) == ("23502", "globex")
        await node.reach("globex", SlotState.QUARANTINED)
        with pytest.raises(TenantQuarantined, match=AT_ITS_PLACE):
            await node.submit("globex")
        await node.submit("acme")

        await node.sql("UPDATE tenant_globex.flight SET delay = 0 RETURNING id")
        healed = await migrate(node)

        assert [each.tenant for each in healed.migrated] == ["globex"]
        await node.reach("globex", SlotState.RUNNING, SlotState.DORMANT)
        await node.submit("globex")


async def test_a_file_that_was_taken_away_keeps_nobody_in_quarantine(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, declared(tmp_path, "acme")) as node:
        await provisioned(node, tmp_path, acme="has one")
        add(tmp_path, require_delay=NOT_NULL)
        await migrate(node)
        await node.reach("acme", SlotState.QUARANTINED)
        (tmp_path / "migrations" / "0002_require_delay.sql").unlink()

        tried = await migrate(node, dry_run=True)
        assert (tried.up_to_date, node.slot("acme").state) == (1, SlotState.QUARANTINED)
        healed = await migrate(node)

        assert (healed.migrated, healed.up_to_date) == ([], 1)
        await node.reach("acme", SlotState.RUNNING, SlotState.DORMANT)
        await node.submit("acme")


async def test_a_running_tenant_that_fails_comes_to_rest_and_is_quarantined(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, declared(tmp_path, "acme")) as node:
        await provisioned(node, tmp_path, acme="has one")
        await node.hold("acme", "migrated")
        add(tmp_path, require_delay=NOT_NULL)

        report = await migrate(node)
        GATES.open("migrated")

        assert [each.tenant for each in report.failed] == ["acme"]
        await node.reach("acme", SlotState.QUARANTINED)
        assert await node.finished("acme") == 1


@pytest.mark.requirement("T4.canary")
async def test_nothing_else_is_touched_when_the_canary_fails(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, declared(tmp_path, *THREE)) as node:
        await provisioned(node, tmp_path, globex="has one")
        add(tmp_path, add_day="ALTER TABLE flight ADD day date;", require_delay=NOT_NULL)

        report = await migrate(node, canary="globex")
        await node.submit("acme")
        await node.until_finished("acme", 1)

        assert (report.migrated, report.untouched) == ([], 2)
        assert [each.tenant for each in report.failed] == ["globex"]
        assert [await applied(node, tenant) for tenant in THREE] == [1, 2, 1]
        await node.reach("globex", SlotState.QUARANTINED)

        await node.sql("UPDATE tenant_globex.flight SET delay = 0 RETURNING id")
        report = await migrate(node, canary="globex")

        assert [each.tenant for each in report.migrated] == [*THREE]
        assert [await applied(node, tenant) for tenant in THREE] == [3, 3, 3]


@pytest.mark.requirement("T4.canary")
async def test_nothing_else_is_touched_when_the_canary_has_no_schema_any_more(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, declared(tmp_path, *THREE)) as node:
        await provisioned(node, tmp_path)
        await (await database.connect()).execute("DROP SCHEMA tenant_globex CASCADE")
        add(tmp_path, add_day="ALTER TABLE flight ADD day date;")

        report = await migrate(node, canary="globex")

        assert (report.migrated, report.untouched) == ([], 2)
        assert [(each.tenant, each.code) for each in report.failed] == [
            ("globex", "schema_conflict")
        ]
        assert await applied(node, "acme") == 1


@pytest.mark.requirement("T4.dry-run")
async def test_a_dry_run_tries_the_sql_and_leaves_nothing(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, declared(tmp_path, *THREE)) as node:
        await provisioned(node, tmp_path, globex="has one")
        add(
            tmp_path,
            require_delay=NOT_NULL,
            index_delay="-- insula: no-transaction\nCREATE INDEX CONCURRENTLY ON flight (delay);",
            add_day="ALTER TABLE flight ADD day date;",
        )

        report = await migrate(node, dry_run=True)

        acme, initech = report.migrated
        assert acme.files == ["0002_require_delay", "0003_index_delay", "0004_add_day"]
        assert acme.untried == initech.untried == ["0003_index_delay", "0004_add_day"]
        assert [each.tenant for each in report.failed] == ["globex"]
        assert [await applied(node, tenant) for tenant in THREE] == [1, 1, 1]
        assert node.slot("globex").state is SlotState.DORMANT
        assert (
            await node.sql(
                "SELECT count(*) FROM pg_attribute WHERE attname = 'delay' AND attnotnull"
            )
            == 0
        )


async def test_a_dry_run_finds_what_would_be_refused_at_the_commit(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, declared(tmp_path, "acme")) as node:
        await provisioned(node, tmp_path)
        add(
            tmp_path,
            late="CREATE TABLE leg (flight int REFERENCES flight DEFERRABLE INITIALLY DEFERRED);\n"
            "INSERT INTO leg VALUES (7);",
        )

        for dry_run in (True, False):
            (failed,) = (await migrate(node, dry_run=dry_run)).failed
            assert (failed.code, failed.data["sqlstate"]) == ("migration_failed", "23503")


AT_WORK = """
    SELECT pg_sleep(0.05);
    INSERT INTO public.at_work SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'insula migration'
      AND state = 'active'
"""


async def test_no_more_are_migrated_at_a_time_than_is_wanted(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, declared(tmp_path, *THREE)) as node:
        await provisioned(node, tmp_path)
        await node.sql("CREATE TABLE public.at_work (sessions int)")
        add(tmp_path, at_work=AT_WORK)

        report = await migrate(node, parallel=1)

        assert [each.tenant for each in report.migrated] == [*THREE]
        assert await node.sql("SELECT array_agg(sessions) FROM public.at_work") == [1, 1, 1]


@pytest.mark.requirement("T4.lock")
async def test_a_lock_is_tried_for_again_and_again_and_not_waited_for(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, declared(tmp_path, "acme", "globex")) as node:
        await provisioned(node, tmp_path)
        await node.sql("CREATE SEQUENCE public.tries")  # what it has counted is not rolled back
        add(tmp_path, add_day="SELECT nextval('public.tries'); ALTER TABLE flight ADD day date;")
        holder = await database.connect(database.as_app("acme"))
        async with holder.transaction():
            await holder.execute("LOCK TABLE flight IN ACCESS SHARE MODE")
            report = await migrate(node)

        (failed,) = report.failed
        assert (failed.tenant, failed.code) == ("acme", "lock_not_had")
        assert f"held by process {holder.get_server_pid()} (" in failed.detail
        assert [each.tenant for each in report.migrated] == ["globex"]
        assert await node.sql("SELECT last_value FROM public.tries") == TRIES + 1
        assert node.slot("acme").state is SlotState.DORMANT
        assert [each.tenant for each in (await migrate(node)).migrated] == ["acme"]


async def test_a_schema_that_is_older_than_its_row_says_is_migrated_and_one_that_is_gone_is_not(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, declared(tmp_path, "acme", "globex")) as node:
        await provisioned(node, tmp_path)
        admin = await database.connect()
        await admin.execute(
            "DROP TABLE tenant_acme.flight; DELETE FROM tenant_acme.wf_migration"
            " WHERE ledger = 'app'; DROP SCHEMA tenant_globex CASCADE"
        )

        report = await migrate(node)

        assert [each.tenant for each in report.migrated] == ["acme"]
        assert await applied(node, "acme") == 1
        assert [(each.tenant, each.code) for each in report.failed] == [
            ("globex", "schema_conflict")
        ]
        assert await node.sql("SELECT to_regnamespace('tenant_globex')") is None


async def test_a_file_that_was_edited_stops_all_of_it(database: Database, tmp_path: Path) -> None:
    async with running_node(database, declared(tmp_path, *THREE)) as node:
        await provisioned(node, tmp_path)
        (tmp_path / "migrations" / "0001_create_flight.sql").write_text("SELECT 1;")
        add(tmp_path, add_day="ALTER TABLE flight ADD day date;")

        with pytest.raises(MigrationChecksumMismatch, match=r"0001_create_flight.sql has been"):
            await migrate(node)

        assert [await applied(node, tenant) for tenant in THREE] == [1, 1, 1]
        await node.submit("acme")


async def test_a_tenant_that_runs_is_migrated_where_it_is(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, declared(tmp_path, "acme")) as node:
        await node.submit("acme")
        await node.until_finished("acme", 1)
        await node.hold("acme", "in place")
        add(tmp_path, create_flight=FLIGHT)
        # The engine's statements are prepared by now; its tables change under them.
        wider = engine_migrations()[0]
        node.tenants.spec = msgspec.structs.replace(
            node.tenants.spec,
            engine_migrations=(
                *engine_migrations(),
                msgspec.structs.replace(
                    wider,
                    number=len(engine_migrations()) + 1,
                    sql="ALTER TABLE tenant.wf_run ADD wider int;"
                    "ALTER TABLE tenant.wf_event ADD wider int;",
                ),
            ),
        )

        report = await migrate(node)
        GATES.open("in place")
        await node.submit("acme")

        assert [each.tenant for each in report.migrated] == ["acme"]
        await node.until_finished("acme", 3)
        assert node.slot("acme").incarnation == 1


async def test_a_task_that_selects_everything_is_at_most_tried_again(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, declared(tmp_path, "acme")) as node:
        await provisioned(node, tmp_path, acme="has one")
        await node.submit("acme", "widths")
        await node.until_finished("acme", 1)
        add(tmp_path, add_day="ALTER TABLE flight ADD day date;")

        await migrate(node)
        await node.submit("acme", "widths")

        await node.until_finished("acme", 2)
        outputs = "SELECT array_agg(output::text ORDER BY created_at) FROM tenant_acme.wf_run"
        assert await node.sql(outputs) == ["[2,1]", "[3,2]"]
        assert node.slot("acme").incarnation == 1


async def test_another_node_reads_the_files_anew_when_a_tenant_is_ahead_of_it(
    database: Database, tmp_path: Path
) -> None:
    files = declared(tmp_path, "acme")
    async with running_node(database, files) as a, running_node(database, files, name="b") as b:
        await provisioned(a, tmp_path)

        await b.submit("acme")
        await b.until_finished("acme", 1)

        assert b.slot("acme").state is not SlotState.QUARANTINED


async def test_an_unknown_tenant_is_refused_before_anything_is_done(
    database: Database, tmp_path: Path
) -> None:
    async with running_node(database, declared(tmp_path, "acme")) as node:
        add(tmp_path, create_flight=FLIGHT)

        with pytest.raises(TenantNotFound, match="umbrella"):
            await migrate(node, tenants=["acme", "umbrella"])
        assert await node.sql("SELECT to_regnamespace('tenant_acme')") is None
