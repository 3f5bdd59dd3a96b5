"""Moving a tenant with a real daemon, which is killed in the middle."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.model.errors import InsulaError
from orchestrator.model.progress import Progress
from orchestrator.settings.shards import ShardConfig
from tests.daemon.process import daemon
from tests.support.database import Database


@pytest.mark.slow
async def test_a_daemon_that_is_killed_in_the_middle_of_a_move_loses_nothing(
    database: Database, shard: ShardConfig, tmp_path: Path
) -> None:
    async with daemon(tmp_path) as served:
        served.configure(database=database, more=f'[shards.eu]\nurl = "{shard.url}"')
        await served.start()
        async with served.client() as client:
            tenant = client.tenant("acme")
            run = await tenant.start("count")
            await run.result(timeout=30)
            reached = asyncio.Event()

            def hear(progress: Progress) -> None:
                if progress.phase == "switching":
                    reached.set()

            move = asyncio.create_task(tenant.lifecycle.move("eu", report=hear))
            await asyncio.wait_for(reached.wait(), 30)
            await served.kill()
            with pytest.raises((InsulaError, OSError)):
                await move
        await served.start()
        async with served.client() as client:
            tenant = client.tenant("acme")
            moved = await tenant.lifecycle.move("eu", wait=30)
            again = await tenant.start("count")
            await again.result(timeout=30)
            page = await tenant.runs()

            assert (moved.shard, moved.kept_on) == ("eu", "control")
            assert {each.id for each in page.runs} == {run.id, again.id}
