"""What `insula doctor` says of copies on shards, and of what there belongs to nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.lifecycle import arrival
from orchestrator.model.findings import Finding
from orchestrator.model.ids import TenantId
from orchestrator.model.moves import MoveTenant
from orchestrator.settings.shards import ShardConfig
from orchestrator.store.connect import Target
from tests.supervisors.nodes import Node
from tests.supervisors.test_moves import moved, used
from tests.supervisors.test_shard_copies import used as settled
from tests.supervisors.test_shard_renames import rename
from tests.supervisors.test_shard_renames import used as registered
from tests.supervisors.test_shards import admin_of, home
from tests.support import examination
from tests.support.database import Database, Databases
from tests.support.server import TRUSTING, must_let_in

__all__ = ["home"]

ACME = TenantId("acme")


async def found(database: Database, node: Node, *checks: str) -> list[Finding]:
    """Return what doctor finds of some checks."""
    findings = await examination.findings(database, shards=node.tenants.shards)
    return [each for each in findings if each.check in checks]


@pytest.mark.parametrize("home", ["database"], indirect=True)
async def test_a_move_that_waits_for_its_confirmation_is_told_with_its_time(
    database: Database, home: ShardConfig, tmp_path: Path
) -> None:
    async with moved(database, home, tmp_path) as (node, verb):
        (here,) = await found(database, node, "move.unconfirmed", "schema.orphan")
        await verb.run(ACME, MoveTenant(back=True))
        (there,) = await found(database, node, "move.unconfirmed", "database.orphan")

        kept = "it lives on shard eu, and control keeps a copy of before its move: kept, since 20"
        assert here.what.startswith(kept)
        assert "control, and eu keeps a copy of before its move: kept, since 20" in there.what
        assert there.mend == "insula tenant move acme --confirm drops it, --back returns to it"


@pytest.mark.parametrize("home", ["role"], indirect=True)
async def test_a_copy_that_a_killed_node_has_left_is_told_with_its_time(
    database: Database, home: ShardConfig
) -> None:
    async with used(database, home) as node:
        there = await admin_of(database, home)
        await there.execute("CREATE SCHEMA tenant_globex; CREATE SCHEMA moved_globex")
        await arrival.mark(there, TenantId("globex"))

        (orphan, copy) = await found(database, node, "copy.unfinished", "schema.orphan")

    assert copy.subject == "shard eu, schema tenant_globex"
    assert copy.what.startswith("a copy that the registry does not know yet, since 20")
    assert orphan.subject == "shard eu, schema moved_globex"


@pytest.mark.parametrize("home", ["database"], indirect=True)
async def test_databases_of_nobody_and_tenants_without_one_are_told(
    database: Database, home: ShardConfig, tmp_path: Path
) -> None:
    async with moved(database, home, tmp_path) as (node, _):
        server, own = await database.connect(Target.parse(home.url)), f"{database.role_prefix}_t_"
        assert await found(database, node, "database.orphan", "schema.gone") == []
        await node.root.drain()
        await server.execute(f'ALTER DATABASE "{own}acme" RENAME TO "{own}globex"')

        (gone, orphan) = await found(database, node, "database.orphan", "schema.gone")

    assert (gone.subject, orphan.subject) == ("tenant acme", f"shard eu, database {own}globex")


@pytest.mark.parametrize(
    ("home", "back"),
    [
        ("role", "ALTER SCHEMA tenant_globex RENAME TO tenant_acme"),
        ("database", 'ALTER DATABASE "{prefix}_t_globex" RENAME TO "{prefix}_t_acme"'),
    ],
    indirect=["home"],
)
async def test_a_renaming_that_waits_for_the_shard_is_told_and_nothing_is_taken_for_lost(
    database: Database, home: ShardConfig, back: str
) -> None:
    lost = ("schema.gone", "schema.orphan", "role.orphan", "database.orphan")
    async with registered(database, home) as node:
        await rename(node)
        await node.root.drain()
        assert await found(database, node, "rename.waiting", *lost) == []
        await node.sql("UPDATE insula.tenant SET renaming = 'acme' WHERE id = 'globex'")
        server = await database.connect(Target.parse(home.url))
        await server.execute(back.format(prefix=database.role_prefix))

        (waiting,) = await found(database, node, "rename.waiting", *lost)

    assert waiting.subject == "tenant globex"
    assert waiting.what.startswith("its renaming from acme waits for the shard eu")


@pytest.mark.slow
async def test_a_shard_that_asks_for_no_password_is_told(
    database: Database, further_databases: Databases
) -> None:
    async with further_databases.lend_empty(TRUSTING) as target:
        shard = ShardConfig(name="eu", url=target.url)
        async with settled(database, shard) as node:
            unknown = target.as_role(database.logins("acme").app, "any password")
            await must_let_in(unknown)

            (finding,) = await found(database, node, "login.unasked")

    assert finding.subject == "shard eu, server"
