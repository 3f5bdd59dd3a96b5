"""Commands that are stopped in the middle of copying: no half of a file, and the daemon goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from orchestrator import Client
from tests.daemon.intact import Installation
from tests.daemon.process import Daemon, daemon
from tests.support.database import Database
from tests.support.wait import until

COMMANDS = {
    "tenant backup source half.tar": signal.SIGINT,
    "tenant import target rows": signal.SIGINT,
    "tenant export source half": signal.SIGKILL,
    "tenant restore whole.tar --as again": signal.SIGKILL,
}
"""Commands, and how each is stopped."""

LOCKS = """
LOCK TABLE tenant_source.tally, tenant_target.tally IN ACCESS EXCLUSIVE MODE;
CREATE SCHEMA tenant_again;
"""
"""What all of them come to, or wait for behind the others."""


async def begin(served: Daemon, line: str) -> Process:
    """Start a command in the directory of the daemon."""
    return await asyncio.create_subprocess_exec(
        *served.command(*line.split()),
        cwd=served.directory,
        env=served.variables(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )


async def prepare(client: Client, directory: Path) -> None:
    """Have two tenants, an archive and an export of one of them."""
    for tenant in ("source", "target"):
        await client.create_tenant(tenant)
        await client.tenant(tenant).provision()
    await works(client, "source")
    await client.tenant("source").archives.backup(directory / "whole.tar")
    await client.tenant("source").archives.export(directory / "rows")


async def works(client: Client, tenant: str) -> None:
    """Run a workflow."""
    run = await client.tenant(tenant).start("count")
    assert (await run.result(timeout=30)).error is None


@pytest.mark.slow
async def test_a_command_that_is_stopped_leaves_no_file_and_what_was_begun_ends(
    database: Database, state_dir: Path
) -> None:
    admin, holder = await database.connect(), await database.connect()
    installation = Installation(admin, admin, state_dir, database.role_prefix)
    async with daemon(state_dir) as served:
        served.configure([], database=database)
        await served.start()
        async with served.client() as client:
            await prepare(client, state_dir)
            since, lock = await installation.last_entry(), holder.transaction()
            await lock.start()
            await holder.execute(LOCKS)
            started = [await begin(served, line) for line in COMMANDS]

            async def all_have_begun() -> bool:
                return await installation.begun(since) == len(COMMANDS)

            await until(all_have_begun, within=30, what="all of them are at work")
            for process, number in zip(started, COMMANDS.values(), strict=True):
                process.send_signal(number)
            told = [(await process.communicate())[1].decode() for process in started]
            await lock.rollback()

            async def all_have_ended() -> bool:
                return await installation.begun(since) == 0

            await until(all_have_ended, within=30, what="the daemon has ended all")
            assert [each.returncode for each in started] == [130, 130, -9, -9]
            assert (
                told[:2] == ["what the daemon has begun goes on: insula tenant audit tells\n"] * 2
            )
            assert not [each for each in os.listdir(state_dir) if "half" in each]  # noqa: PTH208 - a test may wait for a disk
            for tenant in ("source", "target", "again"):
                newest = (await client.audit(tenant)).entries[0]
                assert (newest.outcome, newest.detail) == ("done", "")
                await works(client, tenant)
            await client.tenant("source").archives.backup(state_dir / "half.tar")
