"""The registry of tenants."""

from __future__ import annotations

import anyio
import msgspec
import pytest

from orchestrator.model.errors import TenantExists, TenantNotFound
from orchestrator.model.ids import TenantId
from orchestrator.store.control import configuration, tenants
from orchestrator.store.control.tenants import TenantRow
from tests.support.database import Database

ACME, GLOBEX = TenantId("acme"), TenantId("globex")


async def test_declared_tenants_are_listed_by_id(database: Database) -> None:
    connection = await database.connect()

    await tenants.declare(connection, [(GLOBEX, '{"tier":"gold"}'), (ACME, "{}")])

    rows = await tenants.fetch_all(connection)
    assert [(row.id, row.source, row.state) for row in rows] == [
        (ACME, "file", "registered"),
        (GLOBEX, "file", "registered"),
    ]
    assert rows[1].declaration == '{"tier":"gold"}'
    assert rows[0].schema_name == "tenant_acme"


async def test_declaring_the_same_again_writes_nothing(database: Database) -> None:
    connection = await database.connect()
    await tenants.declare(connection, [(ACME, "{}"), (GLOBEX, "{}")])
    before = await connection.fetch("SELECT id, xmin::text FROM insula.tenant ORDER BY id")

    await tenants.declare(connection, [(ACME, "{}"), (GLOBEX, '{"tier":"gold"}')])

    after = await connection.fetch("SELECT id, xmin::text FROM insula.tenant ORDER BY id")
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)


async def test_nodes_that_start_together_declare_without_deadlock(database: Database) -> None:
    names = [TenantId(f"t{number}") for number in range(50)]

    async def start(turn: int) -> None:
        connection = await database.connect()
        order = names if turn % 2 else names[::-1]
        await tenants.declare(connection, [(name, f'{{"turn":{turn}}}') for name in order])

    async with anyio.create_task_group() as group:
        for turn in range(6):
            group.start_soon(start, turn)

    assert len(await tenants.fetch_all(await database.connect())) == 50


async def test_a_tenant_is_registered_once(database: Database) -> None:
    connection = await database.connect()

    row = await tenants.register(connection, ACME, '{"name":"ACME"}')

    assert (row.id, row.source, row.declaration) == (ACME, "api", '{"name":"ACME"}')
    with pytest.raises(TenantExists, match="'acme' exists already"):
        await tenants.register(connection, ACME, "{}")
    assert await tenants.fetch(connection, ACME) == row


async def test_a_declared_tenant_can_not_be_registered(database: Database) -> None:
    connection = await database.connect()
    await tenants.declare(connection, [(ACME, "{}")])

    with pytest.raises(TenantExists, match="declared in a file before") as caught:
        await tenants.register(connection, ACME, "{}")

    assert "[tenants.acme]" in caught.value.hint


@pytest.mark.requirement("T2.files")
async def test_a_file_takes_over_what_was_registered(database: Database) -> None:
    connection = await database.connect()
    await tenants.register(connection, ACME, "{}")
    await _provisioned(database)

    await tenants.declare(connection, [(ACME, '{"tier":"gold"}')])

    row = await tenants.fetch(connection, ACME)
    assert (row.source, row.state, row.engine_version) == ("file", "provisioned", 2)


async def test_a_deleted_tenant_begins_anew_when_it_is_declared_again(database: Database) -> None:
    connection = await database.connect()
    await tenants.declare(connection, [(ACME, "{}"), (GLOBEX, "{}")])
    await _provisioned(database)
    for tenant in (ACME, GLOBEX):
        await tenants.mark_deleting(connection, tenant, "purge")
        await tenants.bury(connection, tenant, None)

    await tenants.declare(connection, [(ACME, "{}")])
    row = await tenants.register(connection, GLOBEX, "{}")

    for each in (await tenants.fetch(connection, ACME), row):
        assert (each.state, each.provisioned_at, each.rotation) == ("registered", None, 1)


async def test_a_change_is_found_by_whoever_looked_before_it_was_committed(
    database: Database,
) -> None:
    watcher, late, early = [await database.connect() for _ in range(3)]
    await tenants.declare(watcher, [(ACME, "{}"), (GLOBEX, "{}")])
    transaction = late.transaction()
    await transaction.start()
    await tenants.disable(late, ACME, "late")
    await tenants.disable(early, GLOBEX, "early")

    seen = await tenants.horizon(watcher)
    first = await tenants.fetch_changed(watcher, seen)
    await transaction.commit()
    second = await tenants.fetch_changed(watcher, seen)
    last = await tenants.fetch_changed(watcher, await tenants.horizon(watcher))

    assert [row.id for row in first] == [GLOBEX]
    assert {row.id for row in second} == {ACME, GLOBEX}
    assert last == []


async def test_versions_only_grow(database: Database) -> None:
    connection = await database.connect()
    await tenants.register(connection, ACME, "{}")
    await _provisioned(database)

    await tenants.mark_provisioned(
        connection, ACME, engine_version=1, app_version=5, fingerprint="other"
    )

    row = await tenants.fetch(connection, ACME)
    assert (row.engine_version, row.app_version, row.fingerprint) == (2, 5, "other")


async def test_an_unknown_tenant_is_not_found(database: Database) -> None:
    connection = await database.connect()

    with pytest.raises(TenantNotFound):
        await tenants.fetch(connection, ACME)
    with pytest.raises(TenantNotFound):
        await _provisioned(database)


async def test_the_last_activity_is_noted(database: Database) -> None:
    connection = await database.connect()
    await tenants.declare(connection, [(ACME, "{}"), (GLOBEX, "{}")])

    await configuration.touch(connection, {ACME: "a hash"})

    assert (await tenants.fetch(connection, ACME)).last_active_at is not None
    assert (await tenants.fetch(connection, GLOBEX)).last_active_at is None


async def test_an_installation_has_an_id(database: Database) -> None:
    connection = await database.connect()

    assert await tenants.installation_id(connection) == database.installation


@pytest.mark.parametrize("query", [tenants.FETCH, tenants.FETCH_ALL, tenants.REGISTER])
async def test_columns_are_the_fields_of_the_row(database: Database, query: str) -> None:
    connection = await database.connect()

    statement = await connection.prepare(query)

    fields = [field.name for field in msgspec.structs.fields(TenantRow)]
    assert [column.name for column in statement.get_attributes()] == fields


async def _provisioned(database: Database) -> None:
    await tenants.mark_provisioned(
        await database.connect(), ACME, engine_version=2, app_version=3, fingerprint="f"
    )
