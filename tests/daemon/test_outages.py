"""What keeps a daemon from starting, and what it lives through: one clear error each."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from orchestrator import Client
from orchestrator.model.errors import DatabaseUnavailable, Unavailable
from orchestrator.model.states import RunState
from tests.daemon.process import Daemon, daemon, hold
from tests.support.database import Database
from tests.support.server import own_server
from tests.support.wait import until


def is_one_error(lines: list[str], code: str) -> bool:
    """Return whether that is one error line and at most one hint."""
    errors = [line for line in lines if line.startswith("error[")]
    rest = [line for line in lines if not line.startswith(("error[", "hint: "))]
    return len(errors) == 1 and errors[0].startswith(f"error[{code}]: ") and not rest


async def test_a_database_that_is_down_is_said_once(state_dir: Path) -> None:
    async with daemon(state_dir) as served:
        served.configure(url="postgresql://nobody:topsecret@127.0.0.1:1/app")
        code, lines = await served.fails()
        assert code == 5
        assert is_one_error(lines, "database_unavailable"), lines
        assert not served.events("daemon.failed")
        assert "topsecret" not in served.text()
        assert not (state_dir / "run" / "insula.sock").exists()


async def test_a_wrong_password_is_said_once(database: Database, state_dir: Path) -> None:
    admin = await database.connect()
    role = f"{database.role_prefix}_login"
    await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    wrong = database.target.as_role(role, "wrong")
    async with daemon(state_dir) as served:
        served.configure(url=wrong.url)
        code, lines = await served.fails()
        assert code == 5
        assert is_one_error(lines, "database_refused"), lines


async def test_a_port_in_use_is_said_once(database: Database, state_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with daemon(state_dir) as served:
            served.configure(database=database, more=f'http.listen = "127.0.0.1:{port}"')
            code, lines = await served.fails()
            assert code == 1
            assert is_one_error(lines, "port_in_use"), lines
            assert str(port) in lines[0]
            assert not (state_dir / "run" / "insula.sock").exists()


@pytest.mark.slow
async def test_a_node_name_in_use_is_said_once(database: Database, state_dir: Path) -> None:
    second_home = state_dir / "second"
    second_home.mkdir()
    async with daemon(state_dir) as first, daemon(second_home) as second:
        first.configure(database=database)
        second.configure(database=database)
        await first.start()
        code, lines = await second.fails()
        assert code == 1
        assert is_one_error(lines, "node_name_in_use"), lines
        async with first.client() as client:
            await (await client.tenant("acme").start("whoami", {})).result(timeout=20)


async def test_a_broken_module_is_named_with_file_and_line(
    database: Database, state_dir: Path
) -> None:
    broken = state_dir / "broken_workflows.py"
    broken.write_text('"""Broken."""\n\nraise RuntimeError("not today")\n', encoding="utf-8")
    async with daemon(state_dir) as served:
        served.configure(database=database, modules="broken_workflows")
        code, lines = await served.fails()
        assert code == 78
        assert is_one_error(lines, "definition_invalid"), lines
        assert f"{broken}:3" in lines[0]
        assert "not today" in lines[0]


async def test_a_broken_file_is_named_with_all_its_problems(state_dir: Path) -> None:
    async with daemon(state_dir) as served:
        served.configure(["Bad-Id"], more="node.nmae = 'x'")
        code, lines = await served.fails()
        assert code == 78
        errors = [line for line in lines if line.startswith("error[config_invalid]")]
        assert len(errors) == 2
        assert all(f"{served.config}:" in line for line in errors)


@pytest.mark.slow
async def test_a_database_that_goes_away_and_comes_back_costs_no_run(state_dir: Path) -> None:
    async with own_server(state_dir / "server") as (server, target), daemon(state_dir) as served:
        served.configure(["acme", "globex"], url=target.url)
        await served.start()
        async with served.client() as client:
            run, leave = await hold(client, state_dir)
            await server.stop()
            with pytest.raises(Unavailable):
                await client.tenant("acme").run(run.id)
            await until(partial(_is_told, client), within=15.0)
            with pytest.raises(DatabaseUnavailable):
                async with asyncio.timeout(1):
                    await client.tenant("globex").start("whoami", {})
            assert (await client.tenant("acme").show()).id == "acme"
            assert not await is_ready(served)
            served.send(signal.SIGHUP)
            await until(lambda: served.events("config.reload_refused"), within=15.0)
            assert not (await client.reload()).applied
            await server.start()
            leave.touch()
            assert await _finished(client, run.id) is RunState.SUCCEEDED
            assert (await client.reload()).applied
            await until(partial(is_ready, served))
            assert (await client.status()).database_outage is None
        assert await served.stop() == 0
        assert served.plain_lines() == []


async def _is_told(client: Client) -> bool:
    return (await client.status()).database_outage is not None


async def is_ready(served: Daemon) -> bool:
    """Return what a load balancer would be told."""
    path = str(served.directory / "run" / "insula.sock")
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=path)) as http:
        return (await http.get("http://insula/health/ready")).status_code == 200


async def _finished(client: Client, run: UUID) -> RunState:
    async def state() -> RunState | None:
        try:
            found = (await client.tenant("acme").run(run, wait=5)).state
        except Unavailable:
            return None
        return found if found.finished else None

    found = await until(state, within=40.0)
    assert found is not None
    return found


@pytest.mark.slow
async def test_a_daemon_can_be_stopped_while_its_database_is_away(state_dir: Path) -> None:
    async with own_server(state_dir / "server") as (server, target), daemon(state_dir) as served:
        served.configure(["acme"], url=target.url)
        await served.start()
        async with served.client() as client:
            await (await client.tenant("acme").start("whoami", {})).result(timeout=20)
        await server.stop()
        served.send(signal.SIGTERM)
        assert await served.end(within=20.0) == 0
        assert served.plain_lines() == []


@pytest.mark.slow
async def test_the_daemon_mends_its_own_server_and_a_hangup_before_it_listens_is_a_reload(
    state_dir: Path,
) -> None:
    early = state_dir / "early_workflows.py"
    text = (
        "import os, signal\nos.kill(os.getpid(), signal.SIGHUP)\nfrom tests.daemon.jobs import *\n"
    )
    early.write_text(text, encoding="utf-8")
    async with daemon(state_dir) as served:
        served.configure(["acme"], modules="early_workflows")
        await served.start()
        await until(lambda: served.events("config.reloaded"))
        pid = state_dir / "state" / "postgresql" / "data" / "postmaster.pid"
        async with served.client() as client:
            run = await client.tenant("acme").start("whoami", {})
            os.kill(int(pid.read_text().splitlines()[0]), signal.SIGKILL)
            await until(lambda: served.events("postgresql.restarted_after_death"))
            assert await _finished(client, run.id) is RunState.SUCCEEDED
        assert await served.stop() == 0
        assert served.plain_lines() == []
