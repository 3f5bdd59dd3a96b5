"""Which tenant it is that an id names: nothing of a former one is the present one's."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace

from orchestrator.lifecycle.rename import MOVE_ROWS
from orchestrator.model.ids import CONTROL_SHARD, TenantId
from orchestrator.quota.alerts import WINDOWS
from orchestrator.store import migrate, sql
from orchestrator.store.connect import Connection
from orchestrator.store.control import configuration, leases, nodes, tenants, transitions, usage
from orchestrator.store.control.tenants import Made, TenantRow
from orchestrator.store.control.transitions import Change
from orchestrator.store.control.usage import Owner, Wanted
from tests.store.test_usage import hour
from tests.supervisors.nodes import LONG
from tests.support.database import Database

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
NODE = UUID(int=7)
BACK = Made(
    tenant=ACME,
    registration=UUID(int=8),
    declaration="{}",
    shard=CONTROL_SHARD,
    engine_version=1,
    app_version=0,
    origin=None,
    wake=False,
    limits=None,
)


@pytest.fixture
async def admin(database: Database) -> Connection:
    return await database.connect()


async def bury(admin: Connection, tenant: TenantId = ACME, archive: str | None = None) -> TenantRow:
    """Delete a tenant, or archive it, and return its row."""
    await tenants.mark_deleting(admin, tenant, "archive" if archive else "purge")
    await tenants.bury(admin, tenant, archive)
    return await tenants.fetch(admin, tenant)


async def begin_anew(admin: Connection, how: str) -> None:
    """Make acme again."""
    if how == "registered":
        await tenants.register(admin, ACME, "{}")
    elif how == "declared":
        await tenants.declare(admin, [(ACME, "{}")])
    else:
        await tenants.bring_back(admin, BACK)


@pytest.mark.parametrize("how", ["registered", "declared", "restored"])
async def test_whoever_takes_the_id_of_a_deleted_tenant_is_another_one(
    admin: Connection, how: str
) -> None:
    former = await tenants.register(admin, ACME, "{}")
    await configuration.note(admin, {ACME: "a hash"})
    await configuration.touch(admin, {ACME: "a hash"})
    buried = await bury(admin)

    await begin_anew(admin, how)

    row = await tenants.fetch(admin, ACME)
    assert buried.registration == former.registration != row.registration
    assert row.created_at > former.created_at
    assert row.last_active_at is None or row.last_active_at > former.created_at
    assert await configuration.hashes(admin, ACME) == (None, None)


async def test_a_tenant_stays_who_it_is_under_another_id_and_in_an_archive(
    admin: Connection,
) -> None:
    former = await tenants.register(admin, GLOBEX, "{}")
    await bury(admin, GLOBEX)
    row = await tenants.register(admin, ACME, "{}")
    await bury(admin, archive="acme.tar")
    assert await tenants.bring_back(admin, replace(BACK, registration=row.registration))

    await admin.execute(sql.fill(MOVE_ROWS, old=ACME, new=GLOBEX))
    renamed = await tenants.rename(admin, await tenants.fetch(admin, ACME), GLOBEX, "{}")

    left = await tenants.fetch(admin, ACME)
    assert renamed.registration == row.registration
    assert row.registration not in {left.registration, former.registration}


async def test_what_is_told_late_of_a_tenant_that_is_gone_is_for_nobody(
    admin: Connection,
) -> None:
    former = await tenants.register(admin, ACME, "{}")
    late = Change(former.registration, former.created_at, "backoff", "a secret", None)
    await transitions.record(admin, "a", [late])
    await bury(admin)
    await tenants.register(admin, ACME, "{}")

    await transitions.record(admin, "a", [late])

    assert (await transitions.written(admin, ACME, WINDOWS))[1] == []
    assert await admin.fetchval("SELECT count(*) FROM insula.transition") == 0


async def test_an_owner_that_was_thought_dead_tells_nothing_once_the_tenant_is_gone(
    admin: Connection,
) -> None:
    former = await tenants.register(admin, ACME, "{}")
    await nodes.register(admin, NODE, "a", LONG)
    lease = await leases.claim(admin, ACME, NODE)
    await bury(admin)

    owner, hours = Owner(lease.epoch, NODE), [hour(1, submitted=1)]

    assert not await usage.tell(admin, ACME, former.registration, hours, owner)
    assert (await leases.claim(admin, ACME, NODE)).epoch == lease.epoch + 1


async def test_each_statement_that_returns_a_row_has_all_of_its_columns(admin: Connection) -> None:
    for query in (tenants.FETCH, tenants.FETCH_ALL, tenants.REGISTER, tenants.RENAME):
        statement = await admin.prepare(query)
        columns = [attribute.name for attribute in statement.get_attributes()]
        assert columns == [each.name for each in msgspec.structs.fields(TenantRow)]


async def test_every_table_that_knows_tenants_is_thought_of_when_one_is_deleted(
    admin: Connection,
) -> None:
    found = await admin.fetch(
        "SELECT DISTINCT a.attrelid::regclass::text FROM pg_attribute AS a"
        " JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relnamespace = 'insula'::regnamespace"
        " AND c.relkind = 'r' AND a.attname IN ('tenant', 'registration') AND a.attinhcount = 0"
    )

    goes = {word for word in tenants.BURY.split() if word.startswith("insula.")}
    by_registration = {"insula.usage"}
    for_operators = {"insula.audit"}
    of_schemas_that_are_gone = {"insula.cache"}
    assert {each[0] for each in found} - goes == (
        by_registration | for_operators | of_schemas_that_are_gone
    )


BEFORE = """
    INSERT INTO insula.tenant (id, source, declaration, schema_name, state, provisioned_at)
    VALUES ('acme', 'api', '{}', 'tenant_acme', 'provisioned', '2026-03-02 10:30Z'),
           ('gone', 'api', '{}', 'tenant_gone', 'removed', NULL);
    INSERT INTO insula.usage (ledger, span, starts_at, tenant, submitted, input_bytes, succeeded,
                              failed, dead, cancelled, attempts, task_ms)
    SELECT md5(whose)::uuid, 'hour', '2026-03-02Z'::timestamptz + hour * interval '1 hour', tenant,
           runs, 0, 0, 0, 0, 0, 0, 0
    FROM (VALUES ('former', 10, 'acme', 1), ('present', 10, 'acme', 10),
                 ('present', 11, 'acme', 100), ('gone', 1, 'gone', 1000)
    ) AS told (whose, hour, tenant, runs);
    INSERT INTO insula.alert (tenant, quota, since, at, used, allowed)
    SELECT 'acme', 'max_runs_per_day', at::timestamptz, at::timestamptz, 1, 1
    FROM (VALUES ('2026-03-02 10:00Z'), ('2026-03-02 11:00Z')) AS told (at);
    INSERT INTO insula.transition (tenant, at, node, state, reason)
    VALUES ('acme', '2026-03-02 10:00Z', 'a', 'backoff', 'of the former'),
           ('acme', '2026-03-02 11:00Z', 'a', 'backoff', 'of the present');
"""


async def test_what_was_kept_by_the_id_is_the_present_tenants_where_that_is_certain(
    database: Database, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = migrate.control_migrations()
    await admin.execute("DROP SCHEMA insula CASCADE")
    with monkeypatch.context() as earlier:
        earlier.setattr(migrate, "control_migrations", lambda: every[:21])
        await migrate.migrate_control(admin)
    await admin.execute(BEFORE)

    await migrate.migrate_control(admin)

    row = await tenants.fetch(admin, ACME)
    first, last = row.created_at.replace(year=2000), row.created_at.replace(year=9000)
    told = await usage.of_tenant(admin, row.registration, first, last)
    billed = await usage.page(admin, Wanted(first, last, "day", 9))
    assert sorted(each.submitted for each in told) == [10, 100]
    assert sorted((each.gone, each.submitted) for each in billed) == [
        (False, 110),
        (True, 1),
        (True, 1000),
    ]
    assert len(await usage.alerts(admin, row.registration, 9)) == 1
    _, changes = await transitions.written(admin, ACME, WINDOWS)
    assert [each.reason for each in changes] == ["of the present"]
