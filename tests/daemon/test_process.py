"""The daemon's life as a process: signals, systemd, and what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from orchestrator.model.errors import ShuttingDown
from orchestrator.model.states import RunState
from tests.daemon.process import Daemon, daemon, hold
from tests.support.database import Database
from tests.support.wait import until


@pytest.mark.slow
async def test_a_reload_changes_all_or_nothing_and_a_storm_of_them_harms_nobody(
    database: Database, state_dir: Path
) -> None:
    async with daemon(state_dir) as served:
        served.configure(["acme"], database=database)
        await served.start()
        async with served.client() as client:
            served.configure(["acme", "globex"], database=database)
            served.send(signal.SIGHUP)
            await until(lambda: served.events("config.reloaded"))
            run = await client.tenant("globex").start("whoami", {})
            assert (await run.result(timeout=20)).output == served.process.pid

            served.configure(["acme", "Bad-Id", "initech"], database=database)
            served.send(signal.SIGHUP)
            (refused,) = await until(lambda: served.events("config.reload_refused"))
            assert "insula.toml:" in refused["problems"][0]
            assert {t.id for t in await client.tenants()} == {"acme", "globex"}
            assert (await client.status()).generation == 2

            assert not served.events("tenant.state")
            served.configure(["globex", "initech"], database=database, more="log.level = 'debug'")
            for _ in range(50):
                served.send(signal.SIGHUP)
                await (await client.tenant("globex").start("whoami", {})).result(timeout=20)
            await until(lambda: len(served.events("signal.received")) >= 3)

            async def taken() -> bool:
                return {t.id for t in await client.tenants()} == {"globex", "initech"}

            await until(taken)
            await (await client.tenant("initech").start("whoami", {})).result(timeout=20)
            status = await client.status()
            assert 3 <= status.generation <= 53
            assert served.events("tenant.state")
        assert await served.stop() == 0
        assert served.events("daemon.stopped")


async def test_a_drain_lets_the_running_task_end_and_takes_nothing_new(
    database: Database, state_dir: Path
) -> None:
    async with daemon(state_dir) as served:
        served.configure(["acme"], database=database)
        await served.start()
        async with served.client() as client:
            run, leave = await hold(client, state_dir)
            await record_the_end(database)
            served.send(signal.SIGTERM)
            await until(lambda: served.events("daemon.draining"))
            with pytest.raises(ShuttingDown):
                await client.tenant("acme").start("whoami", {})
            assert (await client.status()).draining
            leave.touch()
        assert await served.end() == 0
        admin = await database.connect()
        query = "SELECT state FROM tenant_acme.wf_run WHERE id = $1"
        assert await admin.fetchval(query, run.id) == RunState.SUCCEEDED
        recorded = await admin.fetch("SELECT what FROM recorded ORDER BY number")
        assert [what for (what,) in recorded] == ["run ended", "lease given back", "node left"]
        assert await admin.fetchval("SELECT count(*) FROM insula.node") == 0
        assert await admin.fetchval("SELECT count(node) FROM insula.lease") == 0
        assert not (state_dir / "run" / "insula.sock").exists()
    order = ("signal.received", "daemon.draining", "tenant.dormant", "daemon.stopped")
    assert [line["event"] for line in served.log() if line["event"] in order] == list(order)


async def record_the_end(database: Database) -> None:
    """Have the database note in which order a node ends."""
    admin = await database.connect()
    await admin.execute("""
        CREATE TABLE recorded (number serial, what text);
        CREATE FUNCTION record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            INSERT INTO public.recorded (what) VALUES (tg_argv[0]);
            RETURN NULL;
        END $$;
        CREATE TRIGGER record AFTER UPDATE ON tenant_acme.wf_run FOR EACH ROW
            WHEN (new.state = 'succeeded') EXECUTE FUNCTION record('run ended');
        CREATE TRIGGER record AFTER UPDATE ON insula.lease FOR EACH ROW
            WHEN (new.node IS NULL) EXECUTE FUNCTION record('lease given back');
        CREATE TRIGGER record AFTER DELETE ON insula.node FOR EACH ROW
            EXECUTE FUNCTION record('node left');
    """)


async def test_a_second_signal_stops_at_once_and_the_run_goes_on_at_the_next_start(
    database: Database, state_dir: Path
) -> None:
    async with daemon(state_dir) as served:
        served.configure(["acme"], database=database)
        await served.start()
        async with served.client() as client:
            run, leave = await hold(client, state_dir)
        served.send(signal.SIGTERM)
        await until(lambda: served.events("daemon.draining"))
        served.send(signal.SIGINT)
        assert await served.end(within=5.0) == 0, served.text()
        leave.touch()
        await served.start()
        async with served.client() as client:
            found = await client.tenant("acme").run(run.id, wait=20)
            assert found.state is RunState.SUCCEEDED


async def test_a_thread_that_nobody_can_stop_does_not_hold_up_the_end(
    database: Database, state_dir: Path
) -> None:
    arrived = state_dir / "arrived"
    async with daemon(state_dir) as served:
        served.configure(["acme"], database=database, more='supervision.drain_timeout = "100ms"')
        await served.start()
        async with served.client() as client:
            await client.tenant("acme").start("block", {"arrived": str(arrived), "seconds": 40.0})
            await until(arrived.exists)
        served.send(signal.SIGTERM)
        assert await served.end(within=8.0) == 0
        assert served.events("daemon.stopped")


async def test_a_signal_while_the_daemon_starts_ends_it_and_leaves_nothing_behind(
    state_dir: Path,
) -> None:
    async with daemon(state_dir) as served:
        served.configure(["acme"])
        await served.start(ready=False)
        pid_file = state_dir / "state" / "postgresql" / "data" / "postmaster.pid"
        await until(pid_file.exists, within=20.0)
        assert await served.stop() == 0
        assert not pid_file.exists()
        assert "Traceback" not in served.text()


async def test_a_dump_names_tenants_tasks_and_where_they_stand(
    database: Database, state_dir: Path
) -> None:
    async with daemon(state_dir) as served:
        served.configure(["acme"], database=database)
        await served.start()
        async with served.client() as client:
            run, leave = await hold(client, state_dir)
            served.send(signal.SIGUSR1)
            await until(lambda: served.events("dump.end"))
            (slot,) = served.events("dump.slot")
            assert (slot["tenant"], slot["state"], slot["running_tasks"]) == ("acme", "running", 1)
            tasks = [line for line in served.events("dump.task") if line.get("task") == "hold"]
            assert [(line["tenant"], line["run"]) for line in tasks] == [("acme", str(run.id))]
            stack = tasks[0]["stack"]
            assert any("jobs.py" in frame and "hold" in frame for frame in stack)
            assert any("insula-keeper" in line["name"] for line in served.events("dump.thread"))
            leave.touch()


async def test_a_crash_of_one_of_the_roots_own_loops_ends_the_process_with_the_reason(
    database: Database, state_dir: Path
) -> None:
    async with daemon(state_dir) as served:
        served.configure(["acme"], database=database)
        await served.start()
        admin = await database.connect()
        await admin.execute("ALTER TABLE insula.wake RENAME TO gone")
        assert await served.end(within=10.0) == 1
        (failed,) = served.events("daemon.failed")
        assert "insula.wake" in failed["error"]
        assert await admin.fetchval("SELECT count(*) FROM insula.node") == 0


async def test_a_daemon_that_was_declared_dead_ends_and_says_so(
    database: Database, state_dir: Path
) -> None:
    async with daemon(state_dir) as served:
        served.configure(["acme"], database=database, more='supervision.node_renewal = "100ms"')
        await served.start()
        admin = await database.connect()
        await admin.execute("UPDATE insula.node SET expires_at = '-infinity'")
        assert await served.end(within=10.0) == 1
        assert "declared dead" in served.events("daemon.failed")[0]["error"]
        assert "error[node_name_in_use]" in served.text()
        assert "Traceback" not in served.text()


@pytest.mark.slow
async def test_the_embedded_server_starts_and_stops_with_the_daemon(state_dir: Path) -> None:
    async with daemon(state_dir) as served:
        served.configure(["acme"])
        await served.start()
        (started,) = served.events("postgresql.started")
        async with served.client() as client:
            run = await client.tenant("acme").start("count", {})
            assert (await run.result(timeout=20)).state is RunState.SUCCEEDED
        await _second_daemon_is_refused(served)
        # Killed with its server left behind, the next one finds everything.
        await served.kill()
        os.kill(started["pid"], 0)
        await served.start()
        async with served.client() as client:
            assert (await client.tenant("acme").run(run.id)).state is RunState.SUCCEEDED
        assert await served.stop() == 0
        assert not (state_dir / "state" / "postgresql" / "data" / "postmaster.pid").exists()


async def _second_daemon_is_refused(first: Daemon) -> None:
    second = Daemon(first.directory)
    second.stderr = first.directory / "second.log"
    code, lines = await second.fails()
    assert code == 1
    assert lines[0].startswith("error[state_directory_in_use]")
    assert str(first.process.pid) in lines[0]
    assert len(lines) == 2


@pytest.mark.slow
async def test_nothing_of_the_loop_is_left_unread(database: Database, state_dir: Path) -> None:
    async with daemon(state_dir) as served:
        served.configure(["acme"], database=database)
        await served.start()
        async with served.client() as client:
            runs = [await client.tenant("acme").start("count", {}) for _ in range(20)]
            await asyncio.gather(*(run.result(timeout=20) for run in runs))
        assert await served.stop() == 0
        assert served.plain_lines() == []
        # A machine that is busy otherwise lets the loop turn late: that is not left, but told.
        told = [line for line in served.log() if not line["event"].startswith("loop.")]
        assert not [line for line in told if line["level"] in ("warning", "error")]
