"""A copy of a tenant and the tenant that it was made of: neither has a key that opens the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import pytest

from orchestrator.engine.control import Verb
from orchestrator.model.errors import KeyErased, SecretUnreadable
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import Progress, unheard
from orchestrator.model.states import RunState
from orchestrator.settings.shards import ShardConfig
from orchestrator.store.connect import Target
from orchestrator.store.tenant.sealing import DataKey, WrappedKey
from tests.supervisors.test_erasure import (
    ACME,
    COPY,
    Sealing,
    sealing,
    wrapped_keys,
)
from tests.supervisors.test_lifecycle import lifecycle
from tests.supervisors.test_payloads import PLAIN
from tests.supervisors.test_why import platform_of
from tests.support.database import Database
from tests.support.dump import dump
from tests.support.wait import until


async def stored(acme: Sealing, tenant: TenantId) -> str:
    """Return all rows of the tenant's tables, as text."""
    text = await dump(await acme.database.connect())
    begins = text.index(f"tenant_{tenant}.")
    return text[begins : text.rindex(f"tenant_{tenant}.wf_usage")]


async def data_keys(acme: Sealing, tenant: TenantId) -> list[DataKey]:
    """Return the keys of a tenant, opened with what is there for it."""
    connection = await acme.database.connect()
    rows = await connection.fetch(f"SELECT id, wrapped, wrapped_by FROM tenant_{tenant}.wf_key")
    kept = await acme.node.ground.keys.of(tenant, [])
    return [DataKey.unwrap(WrappedKey(*row), kept) for row in rows]


async def cloned(acme: Sealing) -> list[Progress]:
    """Clone acme, all of it, and return what was told meanwhile."""
    told: list[Progress] = []
    await acme.verbs.clone(ACME, COPY, runs="all", report=told.append)
    return told


async def paused_with_a_signal(acme: Sealing) -> Any:
    """Return a run of acme's that is paused, and has a signal that it has not taken."""
    platform = platform_of(acme.node)
    run = (await acme.node.submit("acme", "flow", text=PLAIN)).id
    await until(lambda: is_in(acme, ACME, run, RunState.WAITING))
    await platform.change_run(ACME, run, Verb.PAUSE)
    await platform.send_signal(ACME, run, "go", f"signal {PLAIN}")
    return run


async def is_in(acme: Sealing, tenant: TenantId, run: Any, state: RunState) -> bool:
    return (await platform_of(acme.node).read_run(tenant, run)).state is state


@pytest.mark.requirement("T8.erased")
async def test_a_clone_goes_on_when_its_source_is_erased_and_opens_none_of_its_backups(
    database: Database, tmp_path: Path
) -> None:
    async with sealing(database, tmp_path) as acme:
        platform = platform_of(acme.node)
        waits = await paused_with_a_signal(acme)
        failed = (await acme.node.submit("acme", "bad", text=PLAIN)).id
        await until(lambda: is_in(acme, ACME, failed, RunState.FAILED))
        (key,) = await data_keys(acme, ACME)
        source = await stored(acme, ACME)

        told = await cloned(acme)

        copy = await stored(acme, COPY)
        for name in (key.id.hex, str(key.id)):
            assert (name in source, name in copy) == (True, False)
        assert copy.count("insula:sealed:") == source.count("insula:sealed:") > 4
        with await acme.verbs.backup(ACME, runs="all") as spool:
            await lifecycle(acme.node, tmp_path).erase("acme", force=True)
            await nothing_opens(acme, spool, key)
        assert [each for each in told if each.phase == "rows" and each.total]
        assert await acme.secret(COPY) == PLAIN
        assert await acme.output(COPY) == PLAIN
        error = (await platform.read_run(COPY, failed)).error
        assert error is not None
        assert error.message == f"message {PLAIN}"
        await platform.change_run(COPY, waits, Verb.RESUME)
        await until(lambda: is_in(acme, COPY, waits, RunState.SUCCEEDED))
        done = await platform.read_run(COPY, waits)
        assert done.output == f"second step {PLAIN}, signal {PLAIN}"
        assert done.context == {"text": PLAIN, "kept": f"context {PLAIN}"}


async def nothing_opens(acme: Sealing, spool: BinaryIO, key: DataKey) -> None:
    """Try all that is there for acme's copy on an archive of acme's, which has this key."""
    (archived,) = wrapped_keys(spool)
    assert archived.id == key.id
    assert key.secret not in {each.secret for each in await data_keys(acme, COPY)}
    kept = await acme.node.ground.keys.of(COPY, [archived.wrapped_by])
    with pytest.raises(KeyErased):
        DataKey.unwrap(archived, kept)


@pytest.mark.slow
async def test_the_source_goes_on_when_its_clone_is_erased(
    database: Database, tmp_path: Path
) -> None:
    async with sealing(database, tmp_path) as acme:
        await cloned(acme)

        assert (await lifecycle(acme.node, tmp_path).erase(COPY)).keys == 1

        assert (await acme.secret(), await acme.output()) == (PLAIN, PLAIN)
        await acme.secrets.rotate(ACME)
        assert (await acme.secret(), await acme.output()) == (PLAIN, PLAIN)


@pytest.mark.slow
async def test_a_clone_on_a_shard_is_sealed_with_keys_of_its_own_as_well(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with sealing(database, tmp_path, shard) as acme:
        (key,) = await data_keys(acme, ACME)
        await acme.verbs.clone(ACME, COPY, runs="all", to="eu", report=unheard)
        await lifecycle(acme.node, tmp_path).erase("acme")

        there = await database.connect(Target.parse(shard.url))
        assert key.id.hex not in await dump(there)
        assert str(key.id) not in await dump(there)
        assert await acme.output(COPY) == PLAIN


async def test_what_was_changed_in_the_source_is_as_unreadable_in_its_clone_and_no_more(
    database: Database, tmp_path: Path
) -> None:
    async with sealing(database, tmp_path) as acme:
        await acme.secrets.put(ACME, "changed", PLAIN)
        await acme.node.sql(
            "UPDATE tenant_acme.wf_secret SET sealed = substr(sealed, 1, 30) WHERE name = 'changed'"
        )
        await acme.node.sql(
            "UPDATE tenant_acme.wf_run SET output = "
            "(SELECT to_json(left(output #>> '{}', 60)) FROM tenant_acme.wf_run)"
        )

        await acme.verbs.clone(ACME, COPY, runs="all", report=unheard)

        assert await acme.secret(COPY) == PLAIN
        with pytest.raises(SecretUnreadable):
            await acme.output(COPY)
