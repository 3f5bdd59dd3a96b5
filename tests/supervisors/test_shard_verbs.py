"""Each verb does on a shard what it does beside the control schema, or says why not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest
from msgspec import structs

from orchestrator.daemon import inactivity
from orchestrator.daemon.adoption import TenantAdoption
from orchestrator.daemon.errands import Errands
from orchestrator.daemon.inactivity import Inactivity
from orchestrator.daemon.maintenance import TenantMaintenance
from orchestrator.daemon.migration import TenantMigrations
from orchestrator.daemon.secrets import TenantSecrets
from orchestrator.http.audit import Record
from orchestrator.model.adoption import AdoptSchema
from orchestrator.model.api import CreateTenant, RenameTenant
from orchestrator.model.errors import DatabaseRefused, DatabaseUnavailable, TenantStarting
from orchestrator.model.ids import TenantId
from orchestrator.model.migration import MigrateTenants, MigrationReport
from orchestrator.model.moves import MoveTenant
from orchestrator.model.progress import unheard
from orchestrator.settings.archive import ArchiveSection
from orchestrator.settings.model import Tenant
from orchestrator.settings.shards import ShardConfig
from orchestrator.store.connect import Target
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_lifecycle import archives, lifecycle
from tests.supervisors.test_moves import moves
from tests.supervisors.test_shard_copies import arrivals
from tests.supervisors.test_shards import LEFT, admin_of, home, node_with, succeeded
from tests.supervisors.test_statistics import statistics_of
from tests.supervisors.test_why import platform_of
from tests.support.database import Database, migrations
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

__all__ = ["home"]

ACME, GLOBEX, AGAIN = TenantId("acme"), TenantId("globex"), TenantId("again")
FLIGHT = "CREATE TABLE flight (id int PRIMARY KEY); INSERT INTO flight VALUES (1), (2);"

Verb: TypeAlias = Callable[[Node, Path], Awaitable[object]]


async def migrate(node: Node, _: Path) -> MigrationReport:
    """Migrate every tenant."""
    service = TenantMigrations(node.root, node.tenants)
    return await service.run(MigrateTenants(), Record(node.audit, "uid 0"), unheard)


async def put_secret(node: Node, _: Path) -> str:
    """Store a secret, and tell its name."""
    secrets = TenantSecrets(node.tenants.shards, node.tenants)
    return (await secrets.put(ACME, "token", "s3cret")).name


async def rotate(node: Node, state: Path) -> int:
    """Give acme new passwords."""
    return (await lifecycle(node, state).rotate_credentials(ACME)).rotation


async def stats(node: Node, _: Path) -> dict[str, int] | None:
    """Tell the runs of acme by state."""
    return (await statistics_of(node).read(ACME, exact=True)).runs


async def maintain(node: Node, _: Path) -> set[str | None]:
    """Care for the tables of acme, and tell the problems."""
    verb = TenantMaintenance(Errands(node.tenants.shards))
    done = await verb.run(ACME, after="", statement_seconds=60.0)
    return {each.problem for each in done.tables}


async def export_and_import(node: Node, state: Path) -> int:
    """Export acme, and add to it the rows that it has lost since."""
    verbs = archives(node, state)
    with await verbs.export(ACME, kind="csv", unsealed=False) as spool:
        row = await node.tenants.shards.row(ACME)
        async with node.tenants.shards.lend(row) as connection:
            await connection.execute("DELETE FROM tenant_acme.flight")
        return (await verbs.add(ACME, spool, report=unheard)).rows


async def archive(node: Node, state: Path) -> bool:
    """Archive acme, and bring it back."""
    away = await lifecycle(node, state).archive(ACME)
    return (await archives(node, state).unarchive(ACME, unheard)).rows == away.rows


async def backup(node: Node, state: Path) -> bool:
    """Back acme up."""
    with await archives(node, state).backup(ACME, runs="all") as spool:
        return spool.seek(0, 2) > 0


async def rename(node: Node, state: Path) -> TenantId:
    """Make acme another tenant."""
    return await lifecycle(node, state).rename(ACME, RenameTenant(to="acme_2"), by="uid 0")


async def delete(node: Node, state: Path) -> int:
    """Delete the tenant, whatever it is called now."""
    (row,) = await known(node, "acme%")
    return (await lifecycle(node, state).delete(row, keep=True, force=True)).runs_kept


async def erase(node: Node, state: Path) -> object:
    """Erase acme, whatever it is doing."""
    return await lifecycle(node, state).erase("acme", force=True)


async def known(node: Node, pattern: str) -> list[TenantId]:
    """Return the tenants of the registry that are not removed."""
    found = await node.sql(
        "SELECT array_agg(id) FROM insula.tenant WHERE id LIKE $1 AND state <> 'removed'", pattern
    )
    return [TenantId(each) for each in found or []]


EVERYTHING: dict[Verb, object] = {
    put_secret: "token",
    rotate: 1,
    stats: {"succeeded": 1},
    maintain: {None},
    export_and_import: 2,
    backup: True,
    archive: True,
    rename: "acme_2",
    delete: 1,
}


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("control", marks=pytest.mark.slow),
        pytest.param("role", marks=pytest.mark.slow),
        "database",
    ],
)
@pytest.mark.requirement("T6.everywhere")
async def test_every_verb_does_the_same_wherever_the_tenant_lives(
    database: Database, shard: ShardConfig, tmp_path: Path, where: str
) -> None:
    shard = structs.replace(shard, isolation="database" if where == "database" else "role")
    declared = structs.replace(
        snapshot([], shards=[shard]), migrations_path=tmp_path / "migrations"
    )
    async with running_node(database, declared, shards=[shard]) as node:
        lives = "control" if where == "control" else "eu"
        sealed = {"shard": lives, "encrypt_payloads": True}  # the deletion has to open them
        await node.tenants.register(CreateTenant(id="acme", set=sealed))
        await node.submit("acme")
        row = await node.tenants.shards.row(ACME)
        async with node.tenants.shards.lend(row) as connection:
            await succeeded(connection, 1)
        migrations(tmp_path / "migrations", flight=FLIGHT)

        migrated = [each.files for each in (await migrate(node, tmp_path)).migrated]
        done = {verb.__name__: await verb(node, tmp_path) for verb in EVERYTHING}

        assert migrated == [["0001_flight"]]
        assert done == {verb.__name__: outcome for verb, outcome in EVERYTHING.items()}
        assert await node.sql(LEFT, f"{database.role_prefix}_") is None


async def move(node: Node, state: Path) -> object:
    """Move acme beside the control schema, whatever it is doing."""
    return await moves(node, state).run(ACME, MoveTenant(to="control", force=True))


async def clone_acme(node: Node, state: Path) -> object:
    """Clone acme, on the shard it is on."""
    return await archives(node, state).clone(ACME, AGAIN, runs="none", report=unheard)


async def restore_globex(node: Node, state: Path) -> object:
    """Restore a tenant of the control database on the shard."""
    verbs = archives(node, state)
    with await verbs.backup(GLOBEX, runs="all") as spool:
        return await verbs.restore(
            AGAIN, spool, of="globex", runs=None, foreign=False, to="eu", report=unheard
        )


async def archive_by_force(node: Node, state: Path) -> object:
    """Archive acme, whatever it is doing."""
    return await lifecycle(node, state).archive(ACME, force=True)


async def adopt(node: Node, _: Path) -> object:
    """Adopt a schema for a tenant that was never used."""
    verb = TenantAdoption(node.tenants, Errands(node.tenants.shards))
    return await verb.run(TenantId("fresh"), AdoptSchema(schema="legacy"))


@asynccontextmanager
async def with_a_shard_to_lose(
    database: Database, home: ShardConfig
) -> AsyncIterator[tuple[Node, CuttingProxy]]:
    """Run a node with acme on a shard behind a proxy, and globex beside the control schema."""
    proxy = CuttingProxy(Target.parse(home.url))
    async with proxy.running():
        behind = structs.replace(home, url=proxy.target.url)
        async with running_node(database, snapshot([], shards=[behind]), shards=[behind]) as node:
            for tenant, lives in (("acme", "eu"), ("globex", "control"), ("fresh", "eu")):
                await node.tenants.register(CreateTenant(id=tenant, set={"shard": lives}))
            await node.submit("acme")
            await succeeded(await admin_of(database, home), 1)
            yield node, proxy
            proxy.come_back()


@pytest.mark.parametrize("home", ["database"], indirect=True)
async def test_a_shard_that_is_away_is_named_by_every_verb_and_nothing_is_half_done(
    database: Database, home: ShardConfig, tmp_path: Path
) -> None:
    rows = "SELECT array_agg(to_jsonb(t) - 'changed_in' ORDER BY id)::text FROM insula.tenant AS t"
    verbs = (put_secret, rotate, stats, maintain, backup, export_and_import, archive_by_force)
    more = (rename, move, clone_acme, restore_globex, adopt, delete, erase)
    async with with_a_shard_to_lose(database, home) as (node, proxy):
        await node.submit("globex")
        await node.until_finished("globex", 1)
        proxy.go_away()
        eu = node.tenants.shards.others["eu"]
        await until(lambda: eu.reach.outage is not None, what="it is noticed")
        before = await node.sql(rows)

        for verb in (*verbs, *more):
            with pytest.raises(DatabaseUnavailable, match="shard 'eu'"):
                await verb(node, tmp_path)
        (failed,) = (await migrate(node, tmp_path)).failed

        assert (failed.tenant, failed.code) == ("acme", "database_unavailable")
        assert await node.sql(rows) == before
        assert await arrivals(node).clear_all(), "it is looked at again when it is back"
        assert "shard 'eu' does not answer" in (await platform_of(node).why(ACME)).because
        await node.submit("globex")
        await node.until_finished("globex", 2)
        proxy.come_back()
        await until(lambda: eu.reach.outage is None, what="it is back")
        await node.submit("acme")
        await succeeded(await admin_of(database, home), 2)


async def test_a_shard_that_a_reload_brings_keeps_nobody_else_from_working(
    database: Database, shard: ShardConfig
) -> None:
    away = ShardConfig(name="us", url="postgresql://nobody@127.0.0.1:1/none")
    async with running_node(database, snapshot(["acme"], shards=[shard]), shards=[shard]) as node:
        declared = {"acme": Tenant(), "globex": Tenant(shard="us")}
        await node.tenants.publish(snapshot([], declarations=declared, shards=[shard, away]))

        with pytest.raises(DatabaseRefused, match="'us' is not configured on this node") as refused:
            await node.tenants.prepare(GLOBEX)
        await node.submit("acme")

        await node.until_finished("acme", 1)
        assert refused.value.hint == "add [shards.us] to its configuration and restart it"


def wanted_back(policy: Inactivity) -> bool:
    """Use acme, which is archived; tell whether it is brought back for that."""
    try:
        policy.use(ACME)
    except TenantStarting:
        return True
    return False


async def test_an_archiving_that_a_node_on_a_shard_has_nearly_ended_is_ended_by_it_alone(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with node_with(database, shard) as node:
        mine, others = (lifecycle(node, tmp_path / name) for name in ("mine", "others"))
        await node.tenants.prepare(ACME)
        await node.sql("ALTER TABLE insula.tenant ADD CONSTRAINT dies CHECK (archive IS NULL)")
        with pytest.raises(asyncpg.CheckViolationError):  # its tables are dropped by then
            await mine.archive(ACME)
        await node.sql("ALTER TABLE insula.tenant DROP CONSTRAINT dies")

        await others.resume()
        assert await node.sql("SELECT state FROM insula.tenant WHERE id = 'acme'") == "deleting"
        await mine.resume()

        assert (await mine.archives.unarchive(ACME, unheard)).rows > 0


@pytest.mark.parametrize("home", ["role"], indirect=True)
async def test_an_archived_tenant_is_brought_back_soon_after_its_shard_is(
    database: Database, home: ShardConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inactivity, "AGAIN_SECONDS", 0.1)
    used = ArchiveSection(restore_on_use=True)
    async with with_a_shard_to_lose(database, home) as (node, proxy):
        whole, eu = lifecycle(node, tmp_path), node.tenants.shards.others["eu"]
        policy = Inactivity(node.control, whole, archives(node, tmp_path), node.audit, lambda: used)
        await whole.archive(ACME)
        proxy.go_away()
        await until(lambda: eu.reach.outage is not None, what="it is noticed")
        assert wanted_back(policy)
        await policy.bring_back()
        proxy.come_back()
        await until(lambda: eu.reach.outage is None, what="it is back")

        await until(lambda: wanted_back(policy), what="it is tried again")
        await policy.bring_back()

        await node.submit("acme")
        await succeeded(await admin_of(database, home), 2)
