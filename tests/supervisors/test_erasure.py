"""Erasing a tenant: its key is destroyed, and with it what every archive of it holds sealed."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import anyio
import pytest

from orchestrator.archive.container import member_of
from orchestrator.daemon import wiping
from orchestrator.daemon.archives import TenantArchives
from orchestrator.daemon.errands import Errands
from orchestrator.daemon.secrets import TenantSecrets
from orchestrator.daemon.wiping import KeyWiping
from orchestrator.model.api import CreateTenant, RenameTenant
from orchestrator.model.errors import KeyErased, SecretUnreadable, TenantInUse, TenantNotFound
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import unheard
from orchestrator.model.states import RunState
from orchestrator.settings.shards import ShardConfig
from orchestrator.store.control import audit, keys, tenants
from orchestrator.store.tenant.sealing import DataKey, WrappedKey
from orchestrator.store.tenant.secrets import OpenSecrets, OwnedSecrets
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_lifecycle import archives, lifecycle
from tests.supervisors.test_payloads import PLAIN, REGISTRY
from tests.supervisors.test_why import platform_of
from tests.support.database import Database
from tests.support.dump import in_file
from tests.support.wait import until

ACME, COPY = TenantId("acme"), TenantId("acme_copy")
KEYS = "insula.tenant_key"


@dataclass
class Sealing:
    """Tenant acme, which keeps a secret and has sealed what a run carried."""

    node: Node
    database: Database
    verbs: TenantArchives
    run: Any

    @property
    def secrets(self) -> TenantSecrets:
        """What operators do to secrets."""
        return TenantSecrets(self.node.ground.shards, self.node.tenants)

    async def secret(self, tenant: TenantId = ACME) -> str:
        """Return the secret as a task of the tenant gets it."""
        connection = await self.database.connect()
        rows = OwnedSecrets(lambda act: act(connection), schema=f"tenant_{tenant}")
        find = self.node.ground.keys.of
        return await OpenSecrets(tenant, rows, partial(find, tenant)).read("api_key")

    async def data_keys(self, tenant: TenantId = ACME) -> list[UUID]:
        """Return the ids of the tenant's data keys."""
        connection = await self.database.connect()
        return [row[0] for row in await connection.fetch(f"SELECT id FROM tenant_{tenant}.wf_key")]

    async def output(self, tenant: TenantId = ACME) -> Any:
        """Return the output of the run."""
        return (await platform_of(self.node).read_run(tenant, self.run)).output

    async def restore(self, spool: BinaryIO, tenant: TenantId = ACME, **how: Any) -> int:
        """Make a tenant of the archive of acme, and return how many rows it has."""
        how = {"of": ACME, "runs": None, "foreign": False, "report": unheard} | how
        return (await self.verbs.restore(tenant, spool, **how)).rows


@asynccontextmanager
async def sealing(
    database: Database, tmp_path: Path, *shards: ShardConfig
) -> AsyncIterator[Sealing]:
    """Run a node with the tenant, beside which there are `shards`."""
    declared = snapshot([], shards=shards)
    async with running_node(database, declared, registry=REGISTRY, shards=shards) as node:
        request = CreateTenant(id="acme", set={"encrypt_payloads": True})
        await node.tenants.register(request)
        run = await node.submit("acme", "echo", text=PLAIN)
        await node.until_finished("acme", 1)
        acme = Sealing(node, database, archives(node, tmp_path), run.id)
        await acme.secrets.put(ACME, "api_key", PLAIN)
        yield acme


@pytest.mark.requirement("T8.erased")
async def test_after_an_erasure_an_archive_brings_all_back_but_what_was_sealed(
    database: Database, tmp_path: Path
) -> None:
    async with sealing(database, tmp_path) as acme:
        with await acme.verbs.backup(ACME, runs="all") as spool:
            assert (await lifecycle(acme.node, tmp_path).erase("acme")).keys == 1
            spool.seek(0)
            assert PLAIN.encode() not in spool.read()
            rows = await acme.restore(spool)

        assert rows > 0
        assert [each.name for each in await acme.secrets.listed(ACME)] == ["api_key"]
        with pytest.raises(KeyErased, match=r"'acme' was erased on \d{4}-\d\d-\d\d"):
            await acme.secret()
        with pytest.raises(KeyErased):
            await acme.output()
        assert await acme.node.finished("acme") == 1
        await acme.secrets.put(ACME, "api_key", "new")
        assert await acme.secret() == "new"
        await acme.secrets.rotate(ACME)
        again = await acme.node.submit("acme", "echo", text="goes on")
        await acme.node.until_finished("acme", 2)
        assert (await platform_of(acme.node).read_run(ACME, again.id)).output == "goes on"


async def test_no_key_of_an_archive_is_opened_with_what_the_installation_has(
    database: Database, tmp_path: Path
) -> None:
    async with sealing(database, tmp_path) as acme:
        with await acme.verbs.backup(ACME, runs="all") as spool:
            stored = wrapped_keys(spool)
            kept = await acme.node.ground.keys.of(ACME, [])
            assert [DataKey.unwrap(each, kept).id for each in stored] == [
                each.id for each in stored
            ]
            await lifecycle(acme.node, tmp_path).erase("acme")

        after = await acme.node.ground.keys.of(ACME, [])
        for each in stored:
            with pytest.raises(SecretUnreadable):
                DataKey.unwrap(each, acme.database.key)
            with pytest.raises(KeyErased):
                DataKey.unwrap(each, after)


async def test_a_tenant_that_was_deleted_comes_back_with_what_was_sealed_until_it_is_erased(
    database: Database, tmp_path: Path
) -> None:
    async with sealing(database, tmp_path) as acme:
        whole = lifecycle(acme.node, tmp_path)
        with await acme.verbs.backup(ACME, runs="all") as spool:
            before = await acme.data_keys()
            await whole.delete("acme", keep=False)
            await acme.restore(spool)
            assert (await acme.secret(), await acme.output()) == (PLAIN, PLAIN)
            assert set(await acme.data_keys()).isdisjoint(before)
            await whole.delete("acme", keep=False)
            erased = await whole.erase("acme")
            assert (erased.schema, erased.keys) == (None, 2)
            await acme.restore(spool)

        with pytest.raises(KeyErased):
            await acme.secret()
        with pytest.raises(TenantNotFound):
            await whole.erase("nobody")


async def test_a_copy_and_a_renamed_tenant_have_keys_of_their_own(
    database: Database, tmp_path: Path
) -> None:
    async with sealing(database, tmp_path) as acme:
        whole = lifecycle(acme.node, tmp_path)
        with await acme.verbs.backup(ACME, runs="all") as spool:
            await acme.restore(spool, COPY)
            assert set(await acme.data_keys(COPY)).isdisjoint(await acme.data_keys())
            await whole.erase("acme")
            assert (await acme.secret(COPY), await acme.output(COPY)) == (PLAIN, PLAIN)
            with await acme.verbs.backup(COPY, runs="all") as copied:
                await whole.rename(COPY, RenameTenant(to="acme_inc"), by="ann")
                renamed = TenantId("acme_inc")
                assert await acme.secret(renamed) == PLAIN
                await whole.erase("acme_inc")
                await acme.restore(copied, COPY, of=COPY)
        with pytest.raises(KeyErased, match="'acme_inc' was erased"):
            await acme.secret(COPY)


async def test_runs_that_can_not_go_on_are_refused_and_can_be_left_out(
    database: Database, tmp_path: Path
) -> None:
    async with sealing(database, tmp_path) as acme:
        waits = await acme.node.submit("acme", "flow", text=PLAIN)
        await until(lambda: _waits(acme.node, waits.id))
        whole = lifecycle(acme.node, tmp_path)
        with await acme.verbs.backup(ACME, runs="all") as spool:
            with pytest.raises(TenantInUse):
                await whole.erase("acme")
            assert await acme.secret() == PLAIN
            await whole.erase("acme", force=True)
            with pytest.raises(KeyErased, match="runs of the archive carry is erased: 1"):
                await acme.restore(spool)
            assert platform_of(acme.node).tenants() == []

            assert await acme.restore(spool, runs="finished") > 0


async def test_an_erasure_that_a_node_has_begun_is_finished_by_the_next(
    database: Database, tmp_path: Path
) -> None:
    async with sealing(database, tmp_path) as acme:
        key = await acme.node.sql("SELECT wrapped FROM insula.tenant_key")
        async with acme.node.control.acquire() as connection:
            await tenants.mark_deleting(connection, ACME, "erase")

        await lifecycle(acme.node, tmp_path).resume()

        connection = await acme.database.connect()
        assert not await in_file(connection, KEYS, key)
        (entry,) = await audit.page(connection, ACME, limit=1)
        assert (entry.operation, entry.subject, entry.outcome) == (
            "tenant.erase",
            "resumed",
            "done",
        )
        assert (
            await connection.fetch("SELECT FROM insula.tenant_key WHERE wrapped IS NOT NULL") == []
        )


async def test_an_erasure_that_was_begun_stays_one_whoever_goes_on_with_it(
    database: Database, tmp_path: Path
) -> None:
    async with sealing(database, tmp_path) as acme:
        whole = lifecycle(acme.node, tmp_path)
        key = await acme.node.sql("SELECT wrapped FROM insula.tenant_key")
        async with acme.node.control.acquire() as connection:
            await tenants.mark_deleting(connection, ACME, "erase")

        with pytest.raises(TenantNotFound, match="is being erased since") as refused:
            await whole.archive(ACME, force=True)
        assert (refused.value.hint or "").startswith("insula tenant erase acme goes on")
        await whole.delete("acme", keep=False, force=True)

        async with acme.node.control.acquire() as connection:
            whose = await keys.holder(connection, ACME)
            assert (await keys.erased(connection, whose)).keys == 1
            assert not await in_file(connection, KEYS, key)


async def test_a_key_that_an_older_transaction_can_see_is_wiped_when_that_has_ended(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiping, "RETRY_SECONDS", 0.02)
    async with sealing(database, tmp_path) as acme, anyio.create_task_group() as group:
        key = await acme.node.sql("SELECT wrapped FROM insula.tenant_key")
        older = await database.connect()
        wiper = KeyWiping(Errands(acme.node.tenants.shards))

        async def gone() -> bool:
            return not await in_file(older, KEYS, key)

        group.start_soon(wiper.run)
        async with older.transaction(isolation="repeatable_read"):
            await older.execute("SELECT FROM insula.installation")

            assert (await lifecycle(acme.node, tmp_path).erase("acme")).keys == 1

            assert not await wiper.attempt()
            assert await in_file(await database.connect(), KEYS, key)
        await until(gone, what="the daemon wipes what a verb has left")
        group.cancel_scope.cancel()


async def test_an_archived_tenant_is_erased_with_its_file(
    database: Database, tmp_path: Path
) -> None:
    async with sealing(database, tmp_path) as acme:
        whole = lifecycle(acme.node, tmp_path)
        file = Path((await whole.archive(ACME)).file)

        assert (await whole.erase("acme")).keys == 1

        assert not file.exists()  # noqa: ASYNC240


def wrapped_keys(spool: BinaryIO) -> list[WrappedKey]:
    """Return the data keys as the raw archive has them."""
    spool.seek(0)
    with tarfile.open(fileobj=spool) as tar:
        packed = tar.extractfile(member_of("wf_key"))
        assert packed is not None
        lines = gzip.decompress(packed.read()).decode().splitlines()
    columns = [line.split("\t") for line in lines]
    return [
        WrappedKey(UUID(c[0]), bytes.fromhex(c[1].removeprefix("\\\\x")), c[2]) for c in columns
    ]


async def _waits(node: Node, run: Any) -> bool:
    return (await platform_of(node).read_run(ACME, run)).state is RunState.WAITING
