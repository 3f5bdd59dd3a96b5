"""Tenants on a shard: another database, over the same verbs, and nothing of them in the first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from msgspec import structs

from orchestrator.client.transaction import enqueue
from orchestrator.daemon.adoption import TenantAdoption
from orchestrator.daemon.arrivals import Arrivals
from orchestrator.daemon.errands import Errands
from orchestrator.daemon.moves import TenantMoves
from orchestrator.model.adoption import AdoptSchema
from orchestrator.model.api import CreateTenant, RenameTenant
from orchestrator.model.errors import (
    AdoptionRefused,
    ConfigError,
    DatabaseRefused,
    DatabaseUnavailable,
    TenantElsewhere,
    TenantExists,
)
from orchestrator.model.ids import TenantId
from orchestrator.model.moves import MoveTenant
from orchestrator.settings.model import Tenant
from orchestrator.settings.shards import ShardConfig
from orchestrator.store.connect import Connection, Target
from orchestrator.store.control import tenants
from orchestrator.store.control.shards import Owner, prepare
from supervisors.slot import SlotState
from tests.lifecycle.test_isolation import attacked
from tests.store.submitting import submit
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_lifecycle import lifecycle
from tests.supervisors.test_why import platform_of
from tests.support.database import Database
from tests.support.examination import findings
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

ACME, GLOBEX, UMBRELLA = TenantId("acme"), TenantId("globex"), TenantId("umbrella")
DECLARED = {"acme": Tenant(shard="eu"), "globex": Tenant()}
LEFT = """
SELECT array_agg(name) FROM (
    SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles) AS there (name)
WHERE name ^@ $1"""
SCHEMAS = "SELECT array_agg(nspname ORDER BY nspname) FROM pg_namespace WHERE nspname ^@ 'tenant_'"


@asynccontextmanager
async def node_with(database: Database, shard: ShardConfig, **parts: Any) -> AsyncIterator[Node]:
    """Run a node with tenant acme on `shard` and globex beside the control schema."""
    declared = snapshot([], declarations=DECLARED, shards=[shard])
    async with running_node(database, declared, shards=[shard], **parts) as node:
        yield node


@pytest.fixture(params=["role", "database"])
async def home(
    request: pytest.FixtureRequest, database: Database, shard: ShardConfig
) -> AsyncIterator[ShardConfig]:
    """Yield shard eu, on which tenants share a database, or have one each."""
    yield structs.replace(shard, isolation=request.param)
    admin = await database.connect()
    own = await admin.fetch(
        "SELECT datname FROM pg_database WHERE datname ^@ $1", f"{database.role_prefix}_t_"
    )
    for (name,) in own:
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


async def admin_of(database: Database, shard: ShardConfig, tenant: str = "acme") -> Connection:
    """Return a connection under the admin login to the database of a tenant of the shard."""
    target = Target.parse(shard.url)
    if shard.isolation == "database":
        target = target.with_database(f"{database.role_prefix}_t_{tenant}")
    return await database.connect(target)


async def succeeded(connection: Connection, count: int, tenant: str = "acme") -> None:
    """Return when so many of the tenant's runs have succeeded in the database of `connection`."""
    query = f"SELECT count(*) FROM tenant_{tenant}.wf_run WHERE state = 'succeeded'"

    async def done() -> bool:
        found: int = await connection.fetchval(query)
        return found == count

    await until(done, what=f"{count} runs of {tenant}")


async def test_a_tenant_is_wholly_on_its_shard(database: Database, home: ShardConfig) -> None:
    async with node_with(database, home) as node:
        for tenant in (ACME, GLOBEX):
            await node.submit(tenant)
        on_shard = await admin_of(database, home)
        await succeeded(on_shard, 1)
        await node.until_finished("globex", 1)

        assert await on_shard.fetchval(SCHEMAS) == ["tenant_acme"]
        assert await node.sql(SCHEMAS) == ["tenant_globex"]
        assert await node.sql("SELECT shard FROM insula.tenant WHERE id = 'acme'") == "eu"


async def test_a_sleeping_tenant_wakes_for_an_applications_own_transaction_on_the_shard(
    database: Database, home: ShardConfig
) -> None:
    async with node_with(database, home) as node:
        await node.tenants.prepare(ACME)
        application = await admin_of(database, home)
        assert node.slot("acme").state is SlotState.DORMANT

        async with application.transaction():
            await submit(application, "acme", "note")

        await succeeded(application, 1)
        await until(
            lambda: application.fetchval("SELECT count(*) = 0 FROM insula.submission"),
            what="its wake row was fetched",
        )


async def test_what_the_registry_says_reaches_the_shard(
    database: Database, shard: ShardConfig
) -> None:
    async with node_with(database, shard) as node:
        await node.tenants.prepare(ACME)
        on_shard = await admin_of(database, shard)
        async with node.control.acquire() as connection:
            await tenants.disable(connection, ACME, "unpaid")
        await node.tenants.refresh()

        await until(
            lambda: on_shard.fetchval("SELECT disabled_because = 'unpaid' FROM insula.tenant")
        )
        with pytest.raises(asyncpg.PostgresError, match="is disabled"):
            await submit(on_shard, "acme", "note")


async def test_a_schema_is_adopted_where_the_tenant_is_declared_to_live(
    database: Database, home: ShardConfig
) -> None:
    async with node_with(database, home) as node:
        verb = TenantAdoption(node.tenants, Errands(node.tenants.shards))
        if home.isolation == "database":
            with pytest.raises(AdoptionRefused, match=r"there is no database '.*_t_acme'"):
                await verb.run(ACME, AdoptSchema(schema="legacy"))
            server = await database.connect(Target.parse(home.url))
            await server.execute(f'CREATE DATABASE "{database.role_prefix}_t_acme"')
        there = await admin_of(database, home)
        await there.execute("CREATE SCHEMA legacy; CREATE TABLE legacy.flight (id int PRIMARY KEY)")

        plan = await verb.run(ACME, AdoptSchema(schema="legacy", dry_run=True))
        assert (plan.obstacles, await there.fetchval(SCHEMAS)) == ([], None)
        await verb.run(ACME, AdoptSchema(schema="legacy"))
        await node.submit("acme")

        await succeeded(there, 1)
        assert await there.fetchval("SELECT count(*) FROM tenant_acme.flight") == 0
        assert await node.sql("SELECT state FROM insula.tenant WHERE id = 'acme'") == "provisioned"
        with pytest.raises(TenantExists, match="has a schema of its own already"):
            await verb.run(ACME, AdoptSchema(schema="legacy"))


async def test_what_the_registry_has_not_heard_of_an_adoption_it_hears_at_the_first_use(
    database: Database, shard: ShardConfig
) -> None:
    async with node_with(database, shard) as node:
        verb = TenantAdoption(node.tenants, Errands(node.tenants.shards))
        there = await admin_of(database, shard)
        await there.execute("CREATE SCHEMA legacy; CREATE TABLE legacy.flight (id int PRIMARY KEY)")
        await verb.run(ACME, AdoptSchema(schema="legacy"))
        await node.sql(
            "UPDATE insula.tenant SET state = 'registered', provisioned_at = NULL WHERE id = 'acme'"
        )

        with pytest.raises(TenantExists, match="has a schema of its own already"):
            await verb.run(ACME, AdoptSchema(schema="legacy"))
        await node.submit("acme")

        await succeeded(there, 1)
        assert await there.fetchval("SELECT count(*) FROM tenant_acme.flight") == 0


async def test_in_the_wrong_database_sql_is_told_where_the_tenant_lives(
    database: Database, shard: ShardConfig
) -> None:
    async with node_with(database, shard) as node:
        await node.tenants.prepare(ACME)
        elsewhere = await database.connect()

        with pytest.raises(TenantElsewhere, match="lives on shard 'eu'"):
            async with elsewhere.transaction():
                await enqueue(elsewhere, "acme", "note")


async def test_a_shard_that_is_away_stops_its_own_tenants_and_no_others(
    database: Database, shard: ShardConfig
) -> None:
    proxy = CuttingProxy(Target.parse(shard.url))
    async with proxy.running():
        behind = ShardConfig(name="eu", url=proxy.target.url)
        async with node_with(database, behind) as node:
            await node.tenants.prepare(ACME)
            proxy.go_away()
            eu = node.tenants.shards.others["eu"]
            await until(lambda: eu.reach.outage is not None, what="it is noticed")
            node.root.wake(ACME)
            await node.reach("acme", SlotState.BACKOFF)

            with pytest.raises(DatabaseUnavailable, match="shard 'eu'"):
                await node.submit("acme")
            with pytest.raises(DatabaseUnavailable, match="shard 'eu'"):
                await platform_of(node).read_run(ACME, uuid4())
            assert "shard 'eu' does not answer" in (await platform_of(node).why(ACME)).because
            await node.submit("globex")
            await node.until_finished("globex", 1)
            assert node.ground.standing.outage is None

            proxy.come_back()
            await node.reach("acme", SlotState.RUNNING)
            await node.submit("acme")


@pytest.mark.parametrize(
    ("owner", "sentence"),
    [
        ({"shard": "us"}, "that of shard 'us'"),
        ({"installation": uuid4()}, "another installation's"),
        ({"isolation": "database"}, "isolation = 'database'"),
    ],
)
async def test_a_url_that_leads_elsewhere_makes_nobody_anew(
    database: Database, shard: ShardConfig, owner: dict[str, Any], sentence: str
) -> None:
    ours = Owner(database.installation, "eu", "role")
    connection = await admin_of(database, shard)
    await prepare(connection, structs.replace(ours, **owner))

    async with node_with(database, shard) as node:
        with pytest.raises(DatabaseUnavailable, match=sentence):
            await node.submit("acme")

    assert await connection.fetchval(SCHEMAS) is None


async def test_the_control_database_is_no_shard(database: Database) -> None:
    with pytest.raises(DatabaseRefused, match="that of shard 'control'"):
        await prepare(await database.connect(), Owner(database.installation, "eu", "role"))


async def test_a_shard_with_tenants_can_not_be_taken_out(
    database: Database, shard: ShardConfig
) -> None:
    async with node_with(database, shard) as node:
        await node.submit("acme")
        with pytest.raises(ConfigError, match="these tenants live on it: acme"):
            await node.tenants.publish(snapshot(["acme", "globex"]))

        assert node.tenants.snapshot.shards
        await node.submit("acme")


async def test_a_tenant_with_tables_stays_where_they_are_whatever_its_file_says(
    database: Database, shard: ShardConfig
) -> None:
    async with node_with(database, shard) as node:
        await node.submit("acme")
        await node.tenants.publish(snapshot(["acme", "globex"], shards=[shard]))
        await node.submit("acme")

        assert node.slot("acme").config.shard == "eu"
        await succeeded(await admin_of(database, shard), 2)


async def test_a_deleted_tenant_leaves_nothing_on_its_shard(
    database: Database, home: ShardConfig, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([], shards=[home]), shards=[home]) as node:
        await node.tenants.register(CreateTenant(id="acme", set={"shard": "eu"}))
        await node.submit("acme")
        on_shard = await admin_of(database, home)
        await succeeded(on_shard, 1)

        deleted = await lifecycle(node, tmp_path).delete("acme", keep=True)

        assert (deleted.schema, deleted.runs_kept, len(deleted.roles)) == ("tenant_acme", 1, 2)
        if home.isolation == "role":
            assert await on_shard.fetchval(SCHEMAS) is None
        assert await node.sql("SELECT state FROM insula.tenant") == "removed"
        assert await node.sql(LEFT, f"{database.role_prefix}_") is None


async def test_with_a_database_each_the_catalogs_tell_nothing_of_others(
    database: Database, home: ShardConfig
) -> None:
    declared = snapshot(["acme", "globex"], shards=[home], shard="eu")
    async with running_node(database, declared, shards=[home]) as node:
        for tenant in ("acme", "globex"):
            await node.submit(tenant)
        row = await node.tenants.shards.row(ACME)
        place = node.tenants.shards.target_of(row)
        login = await database.connect(database.logins("acme").as_app(place))
        seen = await login.fetchval(SCHEMAS)

        if home.isolation == "role":
            assert seen == ["tenant_acme", "tenant_globex"]
            return
        assert seen == ["tenant_acme"]
        other = place.with_database(f"{database.role_prefix}_t_globex")
        with pytest.raises(DatabaseRefused, match="permission denied"):
            await database.connect(database.logins("acme").as_app(other))


async def test_a_shard_and_its_tenants_are_examined_where_they_are(
    database: Database, home: ShardConfig
) -> None:
    async with node_with(database, home) as node:
        for tenant in (ACME, GLOBEX):
            await node.tenants.prepare(tenant)
        on_shard = await admin_of(database, home)

        async def found() -> list[tuple[str, str]]:
            every = await findings(database, shards=node.tenants.shards)
            return [(each.subject, each.check) for each in every]

        well = await found()
        await on_shard.execute("DROP INDEX tenant_acme.wf_run_dead")
        worse = await found()

    assert [each for each in well if each[0].startswith(("tenant", "schema", "role t"))] == []
    assert ("shard eu, server", "setting.fsync") in well
    assert set(worse) - set(well) == {("tenant acme", "drift.missing")}


@pytest.mark.parametrize("which", ["engine", "app"])
@pytest.mark.requirement("T5.database")
async def test_every_way_out_of_a_tenants_database_is_closed(
    database: Database, home: ShardConfig, which: str
) -> None:
    declared = snapshot(["acme", "globex"], shards=[home], shard="eu")
    async with running_node(database, declared, shards=[home]) as node:
        for tenant in (ACME, GLOBEX):
            await node.tenants.prepare(tenant)
        shards = node.tenants.shards
        mine, other = database.logins("acme"), database.logins("globex")
        place = shards.target_of(await shards.row(ACME))
        login = mine.as_engine(place) if which == "engine" else mine.as_app(place)
        names = {
            "other_engine": other.engine,
            "other_app": other.app,
            "myself": login.user,
            "sibling": mine.app if which == "engine" else mine.engine,
            "admin": database.target.user,
        }

        open_doors = await attacked(await database.connect(login), names)

        assert open_doors == []


@pytest.mark.parametrize("home", ["database"], indirect=True)
async def test_a_database_whose_node_died_before_it_was_ready_is_in_nobodys_way(
    database: Database, home: ShardConfig, tmp_path: Path
) -> None:
    async with running_node(database, snapshot([], shards=[home]), shards=[home]) as node:
        whole, errands = lifecycle(node, tmp_path), Errands(node.tenants.shards)
        move = TenantMoves(whole, whole.archives, node.holds, errands)
        for tenant in (ACME, GLOBEX, UMBRELLA):
            await node.tenants.register(CreateTenant(id=tenant, set={"shard": "eu"}))
            await node.tenants.shards.others["eu"].make_database(tenant)

        await move.run(UMBRELLA, MoveTenant(to="control"))
        assert not await node.tenants.shards.others["eu"].has_database(UMBRELLA)
        await whole.rename(GLOBEX, RenameTenant(to="initech"), by="uid 0")
        await whole.delete("acme", keep=False)
        await whole.delete("initech", keep=False)

        assert not await Arrivals(node.tenants, errands).clear_all()
        assert await node.sql(LEFT, f"{database.role_prefix}_") is None
