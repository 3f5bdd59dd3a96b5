"""kill -9 in the middle of every verb: it is done or undone, it is told, and can be done again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from orchestrator.model.errors import InsulaError
from orchestrator.model.ids import CONTROL_SCHEMA
from orchestrator.settings.shards import ShardConfig
from tests.daemon.cuts import CUTS, Cut, rounds
from tests.daemon.intact import SESSIONS, WAITING, Installation
from tests.daemon.process import MIGRATIONS, Daemon, daemon
from tests.daemon.verbs import Stage
from tests.supervisors.test_shards import admin_of
from tests.support.database import Database
from tests.support.wait import until


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.requirement("T6.killed")
async def test_what_a_killed_daemon_was_at_is_done_or_undone_and_can_be_done_again(
    database: Database, shard: ShardConfig, state_dir: Path
) -> None:
    admin, there = await database.connect(), await admin_of(database, shard)
    installation = Installation(admin, there, state_dir, f"{database.role_prefix}_")
    async with daemon(state_dir) as served:
        stage = Stage(served.client(), admin, state_dir)
        shutil.copytree(MIGRATIONS, stage.migrations)
        served.configure(
            [],
            database=database,
            migrations=stage.migrations,
            more=f'[shards.eu]\nurl = "{shard.url}"',
        )
        await served.start()
        for cuts in rounds(CUTS):
            async with served.client(retries=0) as stage.client:
                for cut in {cut.tenant: cut for cut in cuts}.values():
                    await cut.ready(stage, cut.tenant)
                await kill_in_the_middle(served, database, installation, stage, cuts)
            await served.start()
            await is_in_order(installation)
            async with served.client() as stage.client:
                for cut in cuts:
                    await is_told_and_done_again(stage, cut)
                await are_used(stage, {cut.afterwards for cut in cuts} - {CONTROL_SCHEMA})
        await served.stop()
        await is_in_order(installation)


async def kill_in_the_middle(
    served: Daemon,
    database: Database,
    installation: Installation,
    stage: Stage,
    cuts: Sequence[Cut],
) -> None:
    """Have all of them under way, each at its lock, and kill the daemon."""
    here, there = await database.connect(), installation.shard
    begun = await installation.last_entry()
    asked = []
    transactions = here.transaction(), there.transaction()
    for each in transactions:
        await each.start()
    for number, cut in enumerate(cuts, start=1):
        before = await installation.sessions(WAITING)
        if cut.lock is not None:
            names = {"tenant": cut.tenant, "prefix": database.role_prefix}
            await (there if cut.on_shard else here).execute(cut.lock.format(**names))
        asked.append(asyncio.create_task(_ask(stage, cut)))

        async def stands(cut: Cut = cut, number: int = number, before: set[int] = before) -> bool:
            waits = cut.lock is None or await installation.sessions(WAITING) - before
            return bool(waits) and await installation.begun(begun) == number

        await until(stands, within=30.0, what=f"{cut.tenant} stands still in {cut.operation}")
    await served.kill()
    await asyncio.gather(*asked)
    for each in transactions:
        await each.rollback()
    await until(partial(_nobody, installation), what="its sessions are over")


async def _ask(stage: Stage, cut: Cut) -> None:
    """Ask for the verb, and learn nothing of what became of it."""
    with pytest.raises(InsulaError):
        await cut.ask(stage, cut.tenant)


async def _nobody(installation: Installation) -> bool:
    return not await installation.sessions(SESSIONS)


async def is_in_order(installation: Installation) -> None:
    """Wait until what a new daemon finishes by itself is finished."""
    found: list[str] = []

    async def no_faults() -> bool:
        found[:] = await installation.faults()
        return not found

    with suppress(AssertionError):
        await until(no_faults, within=30)
    assert found == []


async def is_told_and_done_again(stage: Stage, cut: Cut) -> None:
    """See that the audit tells of the interruption, and that the verb can be asked for again."""
    assert "interrupted" in await _outcomes(stage, cut)
    ends = {"done", *cut.verb.done}
    assert await _again(stage, cut) in ends, cut.tenant
    assert (await _outcomes(stage, cut))[0] in ends, cut.tenant
    await cut.verb.after(stage, cut.afterwards)


async def _again(stage: Stage, cut: Cut) -> str:
    try:
        await cut.ask(stage, cut.tenant)
    except InsulaError as error:
        return error.code
    return "done"


async def _outcomes(stage: Stage, cut: Cut) -> list[str | None]:
    """Return what became of the verb each time, the last time first."""
    entries = (await stage.client.audit(cut.tenant)).entries
    return [each.outcome for each in entries if each.operation == cut.operation]


async def are_used(stage: Stage, tenants: Iterable[str]) -> None:
    """Have each of them run a workflow."""
    runs = [await stage.tenant(tenant).start("count") for tenant in tenants]
    for run in runs:
        assert (await run.result(timeout=30)).error is None
