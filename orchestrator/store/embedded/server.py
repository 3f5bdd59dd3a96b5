"""Starts, adopts and stops the embedded server."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import anyio
import structlog

from orchestrator.model.errors import DatabaseUnavailable, StartError
from orchestrator.settings.directories import SOCKET_PATH_BYTES
from orchestrator.store import connect
from orchestrator.store.embedded import binaries, processes, tuning
from orchestrator.store.embedded.binaries import Binaries
from orchestrator.store.embedded.tuning import Tuning

log = structlog.get_logger(__name__)

DATABASE = "insula"
_SUPERUSER = "postgres"
_PORT = 5432
_SOCKET_LINE = 4
"""Of postmaster.pid, counted from 0: the directory of the socket."""

_FIRST_BUILTIN_LOCALE = 17
_LOG_LINES = 15
_LOOK = 0.02
_FAST_STOP = 30.0
_IMMEDIATE_STOP = 10.0
START_SECONDS = 600.0
"""Crash recovery may take minutes; giving up on it would only make it begin again."""

_WATCH = 0.2
_RESTARTS = 5
_RESTART_PAUSE = 0.5
_HEALTHY = 60.0


_HINTS = {
    errno.ENOSPC: "make room on that file system",
    errno.EDQUOT: "make room on that file system, or raise the quota",
    errno.EROFS: "choose a directory that can be written: [node] state_dir, or INSULA_STATE_DIR",
    errno.EACCES: "it belongs to the user that runs the daemon",
    errno.EPERM: "it belongs to the user that runs the daemon",
}


@contextmanager
def _explained(home: Path) -> Iterator[None]:
    """Raise what the system refuses as StartError: with the file, and what can be done."""
    try:
        yield
    except OSError as error:
        where = error.filename or home
        hint = _HINTS.get(error.errno or 0, f"look at {where}, or move it away")
        raise StartError(
            f"the embedded PostgreSQL can not be started: {where}: {error.strerror or error}",
            hint=hint,
        ) from error


def _is_empty_directory(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _made_by(data: Path) -> str:
    """Return the major version that made a data directory; StartError when it is not whole."""
    marks = data / "PG_VERSION", data / "postgresql.conf", data / "global" / "pg_control"
    missing = next((mark for mark in marks if not mark.is_file()), None)
    version = "" if missing else marks[0].read_text(encoding="utf-8", errors="replace").strip()
    if not version.isdigit():
        what = f"{missing.name} is missing" if missing else "PG_VERSION holds no version"
        raise StartError(
            f"{data} is not a whole PostgreSQL data directory: {what}",
            hint="bring it back from a backup, or move it away and the next start makes a new, "
            "empty one",
        )
    return version


class EmbeddedPostgres:
    """PostgreSQL under `state_dir`, reached over a unix socket that only its user can open.

    The caller holds the StateLock. A server that outlived its daemon is adopted if it runs with
    the settings we would give it, else stopped and started. In a session of its own, it does not
    see the Ctrl-C of the terminal, so the daemon can still drain.

    >>> async with EmbeddedPostgres(state_dir, tuning=Tuning.for_tenants(100)) as server:
    ...     await serve(server.url)
    """

    def __init__(
        self, state_dir: Path, *, tuning: Tuning | None = None, bin_dir: Path | None = None
    ) -> None:
        self._state_dir = state_dir.resolve()
        self._home = self._state_dir / "postgresql"
        self._data = self._home / "data"
        self._tuning = tuning or Tuning()
        self._bin_dir = bin_dir
        self._child: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._socket_dir = self._home / "run"

    @property
    def url(self) -> str:
        """The URL of the database as superuser; the socket's directory is the only door."""
        return _url(str(self._socket_dir))

    @property
    def made(self) -> bool:
        """True when there is a database, whether or not it runs."""
        return (self._data / "PG_VERSION").exists()

    @property
    def found(self) -> str:
        """The URL of the server that another process runs here; DatabaseUnavailable without one."""
        try:
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            return _url(lines[_SOCKET_LINE])
        except (OSError, IndexError) as error:
            raise DatabaseUnavailable(
                f"the server of {self._state_dir} is just starting or stopping",
                hint="try again in a moment",
            ) from error

    @property
    def pid(self) -> int | None:
        """The process id of the server, None when it does not run."""
        return self._pid

    async def start(self) -> str:
        """Bring the server up and return its URL; raises StartError with the server's log."""
        programs = await anyio.to_thread.run_sync(
            binaries.find_binaries, self._bin_dir, self._state_dir
        )
        try:
            with _explained(self._home):
                await self._start(programs)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.stop()
            raise
        return self.url

    async def watch(self) -> None:
        """Start the server again whenever it dies, for as long as this is not cancelled.

        What was committed is there again: the server recovers by itself. Raises StartError when it
        died, or did not start, too often in a row.
        """
        deaths, started = 0, time.monotonic()
        while True:
            # Nobody tells of the death of a process that another daemon started.
            while self._alive():  # noqa: ASYNC110 - see above
                await anyio.sleep(_WATCH)
            deaths = 1 if time.monotonic() - started > _HEALTHY else deaths + 1
            log.error("postgresql.died", pid=self._pid, deaths=deaths, last_words=self.log_tail())
            if deaths > _RESTARTS:
                raise StartError(
                    f"PostgreSQL died {deaths} times in a row, so it is not started again:\n"
                    f"{self.log_tail()}"
                )
            if deaths > 1:
                await anyio.sleep(_RESTART_PAUSE * 2 ** (deaths - 2))
            await self._restart()
            started = time.monotonic()

    async def _restart(self) -> None:
        # The number may be another process's by now, which nobody here may stop.
        self._pid = self._child = None
        programs = await anyio.to_thread.run_sync(
            binaries.find_binaries, self._bin_dir, self._state_dir
        )
        try:
            await self._clear_remains()
            self._spawn(programs)
            await self._ready()
        except (StartError, OSError) as error:
            log.error("postgresql.restart_failed", error=str(error))  # noqa: TRY400 - it is counted
        else:
            log.warning("postgresql.restarted_after_death", pid=self._pid)

    async def stop(self) -> None:
        """Stop the server: fast, then without a checkpoint, then by force."""
        if self._pid is None:
            return
        for number, patience in (
            (signal.SIGINT, _FAST_STOP),
            (signal.SIGQUIT, _IMMEDIATE_STOP),
            (signal.SIGKILL, _IMMEDIATE_STOP),
        ):
            processes.send(self._pid, number)
            if await self._gone(patience):
                break
            log.warning("postgresql.stop_slow", pid=self._pid, signal=number.name)
        self._pid = self._child = None
        if not self._socket_dir.is_relative_to(self._home):
            shutil.rmtree(self._socket_dir, ignore_errors=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.stop()

    async def _start(self, programs: Binaries) -> None:
        self._make_home(programs)
        await self._make_data(programs)
        if await self._adopt(programs):
            return
        self._socket_dir = self._choose_socket_dir(programs)
        await self._clear_remains()
        self._write_settings(programs)
        self._spawn(programs)
        await self._ready()
        await self._make_database()

    def _make_home(self, programs: Binaries) -> None:
        user = programs.user
        if user is not None and not binaries.can_enter(self._state_dir, user):
            raise StartError(
                f"PostgreSQL does not run as root, and the user {user.name!r} that runs it "
                f"can not get into {self._state_dir}",
                hint="put state_dir where others may pass (chmod 711 on each directory above), "
                "set INSULA_STATE_DIR, or run as an ordinary user",
            )
        for directory in (self._home, self._home / "log", self._home / "run"):
            directory.mkdir(mode=0o700, exist_ok=True)
            self._give(directory, programs)

    async def _make_data(self, programs: Binaries) -> None:
        """Make the data directory whole or not at all: a half-made one has another name."""
        if not self._data.exists() or _is_empty_directory(self._data):
            building = self._home / "data.new"
            shutil.rmtree(building, ignore_errors=True)
            await self._initdb(programs, building)
            building.rename(self._data)  # also over an empty directory
        version = _made_by(self._data)
        if version != str(programs.major):
            raise StartError(
                f"{self._data} was made by PostgreSQL {version}, "
                f"and this is PostgreSQL {programs.version}",
                hint="dump it with the old version and load it here, or use pg_upgrade",
            )
        main = self._data / "postgresql.conf"
        include = "include = 'insula.conf'"
        if include not in main.read_text(encoding="utf-8").splitlines():
            with main.open("a", encoding="utf-8") as file:
                file.write(f"\n{include}\n")

    async def _adopt(self, programs: Binaries) -> bool:
        """Take over a server that a killed daemon left, if it is what we would start."""
        found = processes.read_postmaster(self._data)
        if found is None or not processes.is_server_of(found.pid, self._data):
            return False
        self._pid, self._socket_dir = found.pid, found.socket_dir
        wanted = self._settings()
        unchanged = all(
            (path.exists() and path.read_text(encoding="utf-8") == text)
            for path, text in wanted.items()
        )
        same = processes.runs_program(found.pid, programs.program("postgres"))
        if unchanged and same and found.ready:
            log.info("postgresql.adopted", pid=found.pid)
            await self._make_database()
            return True
        log.info("postgresql.restarted", pid=found.pid)
        await self.stop()
        return False

    async def _clear_remains(self) -> None:
        """End the backends of a server that was killed, and drop a process id given to others.

        The new server would refuse to start while a backend still holds the shared memory, and
        while a stranger, as whom it also runs, has the number in postmaster.pid or in the lock of
        the socket; so has the killed one itself, where nobody buries those without a parent.
        """
        deadline = time.monotonic() + _IMMEDIATE_STOP
        while remains := list(processes.servers_of(self._data)):
            late = time.monotonic() > deadline
            for pid in remains:
                processes.send(pid, signal.SIGKILL if late else signal.SIGQUIT)
            await anyio.sleep(_LOOK)
        if processes.can_list():
            (self._data / "postmaster.pid").unlink(missing_ok=True)
            (self._socket_dir / f".s.PGSQL.{_PORT}.lock").unlink(missing_ok=True)

    def _choose_socket_dir(self, programs: Binaries) -> Path:
        """Return a private directory whose socket's path the kernel takes."""
        usual = self._home / "run"
        # The driver separates hosts by commas, also when they are paths.
        if _socket_fits(usual) and "," not in str(usual):
            return usual
        mark = hashlib.sha256(str(self._data).encode()).hexdigest()[:12]
        short = Path(tempfile.gettempdir()) / f"insula-{mark}"
        owner = programs.user.uid if programs.user else os.geteuid()
        try:
            short.mkdir(mode=0o700)
        except FileExistsError:
            # The name can be guessed: whoever made it first must not become our door.
            status = short.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {owner, os.geteuid()}:
                short = Path(tempfile.mkdtemp(prefix="insula-"))
            short.chmod(0o700)
        self._give(short, programs)
        if not _socket_fits(short):
            raise StartError(
                f"no directory for the server's socket is short enough: {short}",
                hint=f"set TMPDIR so that a socket's path fits {SOCKET_PATH_BYTES} bytes",
            )
        return short

    def _settings(self) -> dict[Path, str]:
        return {
            self._data / "insula.conf": tuning.configuration(
                self._tuning, home=self._home, socket_dir=self._socket_dir
            ),
            self._home / "access.conf": tuning.access(self._tuning),
        }

    def _write_settings(self, programs: Binaries) -> None:
        for path, text in self._settings().items():
            path.write_text(text, encoding="utf-8")
            path.chmod(0o600)
            self._give(path, programs)

    def _spawn(self, programs: Binaries) -> None:
        with self._startup_log.open("wb") as output:
            self._child = subprocess.Popen(  # noqa: S603 - our own program
                [programs.program("postgres"), "-D", str(self._data)],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **programs.popen_options(),
            )
        self._pid = self._child.pid

    async def _ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self._alive():
                self._pid = None
                raise StartError(f"PostgreSQL ended while it started:\n{self.log_tail()}")
            found = processes.read_postmaster(self._data)
            if found is not None and found.pid == self._pid and found.ready:
                return
            await anyio.sleep(_LOOK)
        raise StartError(f"PostgreSQL is not ready after {START_SECONDS:.0f} s:\n{self.log_tail()}")

    async def _make_database(self) -> None:
        """Make our database, and leave the built-in ones to the superuser."""
        target = connect.Target.parse(self.url)
        connection = await connect.connect(
            target.with_database("postgres"), application_name="insula start"
        )
        try:
            if await connection.fetchval(
                "SELECT true FROM pg_database WHERE datname = $1", DATABASE
            ):
                return
            await connection.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
            await connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        finally:
            await connection.close()

    async def _initdb(self, programs: Binaries, directory: Path) -> None:
        command = [programs.program("initdb"), *_initdb_options(programs, directory)]
        try:
            code, said = await processes.run(command, programs.popen_options())
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        if code:
            raise StartError(
                f"initdb failed:\n{_tail(said)}",
                hint=_HINTS[errno.ENOSPC] if os.strerror(errno.ENOSPC) in said else "",
            )

    async def _gone(self, patience: float) -> bool:
        deadline = time.monotonic() + patience
        while self._alive():
            if time.monotonic() > deadline:
                return False
            await anyio.sleep(_LOOK)
        return True

    def _alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return self._pid is not None and processes.is_server_of(self._pid, self._data)

    @property
    def _startup_log(self) -> Path:
        return self._home / "log" / "startup.log"

    def log_tail(self) -> str:
        """Return the last lines the server wrote, for an error that has to explain itself."""
        written = [path for path in (self._home / "log").glob("*.log") if path.stat().st_size]
        newest = sorted(written, key=lambda path: path.stat().st_mtime)
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in newest[-2:]]
        return _tail("\n".join(texts))

    @staticmethod
    def _give(path: Path, programs: Binaries) -> None:
        if programs.user is not None:
            os.chown(path, programs.user.uid, programs.user.gid)


def _initdb_options(programs: Binaries, directory: Path) -> list[str]:
    options: list[Any] = ["-D", directory, "-U", _SUPERUSER, "-E", "UTF8", "--locale=C"]
    if programs.major >= _FIRST_BUILTIN_LOCALE:
        # Characters as Unicode has them, whatever locales the machine has.
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    options += ["--data-checksums", "--auth-local=trust", "--auth-host=reject"]
    return [str(option) for option in options]


def _url(socket_dir: str) -> str:
    host = quote(socket_dir, safe="/")
    return f"postgresql://{_SUPERUSER}@/{DATABASE}?host={host}&port={_PORT}"


def _socket_fits(directory: Path) -> bool:
    return len(os.fsencode(directory / f".s.PGSQL.{_PORT}")) <= SOCKET_PATH_BYTES


def _tail(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-_LOG_LINES:])
