"""The daemon as a process, its tenants' caches on a server that comes and goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon.process import daemon
from tests.support.database import Database
from tests.support.redis import free_port, running


@pytest.mark.slow
async def test_a_daemon_serves_without_its_cache_and_tells_nobody_the_password(
    database: Database, state_dir: Path
) -> None:
    url = f"redis://:${{CACHE_PASSWORD}}@127.0.0.1:{free_port()}/0"
    async with daemon(state_dir, CACHE_PASSWORD="hush-51d0") as served:
        served.configure(database=database, more=f'cache.url = "{url}"')
        await served.start()
        async with served.client() as client:
            run = await client.tenant("acme").start("keep", {})

            assert (await run.result(timeout=20)).output == "cache_unavailable"

        assert "hush-51d0" not in served.text()


@pytest.mark.slow
async def test_a_server_that_comes_later_is_found(
    database: Database, state_dir: Path, tmp_path: Path
) -> None:
    port = free_port()
    async with daemon(state_dir) as served:
        served.configure(database=database, more=f'cache.url = "redis://127.0.0.1:{port}"')
        await served.start()
        async with served.client() as client:

            async def counted() -> object:
                run = await client.tenant("acme").start("keep", {})
                return (await run.result(timeout=20)).output

            assert await counted() == "cache_unavailable"
            with running(tmp_path, port):
                assert [await counted(), await counted()] == ["1", "2"]
            assert await counted() == "cache_unavailable"
