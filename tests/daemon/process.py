"""The daemon as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator import Client
from orchestrator.client.client import RunHandle
from orchestrator.client.sending import RETRIES
from tests.support.database import Database
from tests.support.wait import until

ROOT = Path(__file__).parents[2]
MIGRATIONS = Path(__file__).parent / "migrations"
BOOT_SECONDS = 30.0


class Daemon:
    """One configuration, and the process that serves it at the moment."""

    def __init__(self, directory: Path, **environ: str) -> None:
        self.directory = directory
        self.through: tuple[str | Path, ...] = ()
        self.config = directory / "insula.toml"
        self.stderr = directory / "stderr.log"
        self.environ = environ
        self._process: asyncio.subprocess.Process | None = None

    def configure(
        self,
        tenants: Iterable[str] = ("acme",),
        *,
        database: Database | None = None,
        url: str | None = None,
        more: str = "",
        modules: str = "tests.daemon.jobs",
        migrations: Path = MIGRATIONS,
    ) -> None:
        """Write the configuration; without a database the embedded server is used."""
        lines = [
            f'migrations.path = "{migrations}"',
            f'workflows.modules = ["{modules}"]',
            f'node.state_dir = "{self.directory / "state"}"',
            f'node.runtime_dir = "{self.directory / "run"}"',
        ]
        if database is not None:
            lines.append(f'database.role_prefix = "{database.role_prefix}"')
            url = url or database.target.url
        if url is not None:
            lines.append(f'database.url = "{url}"')
        lines += [more, *(f"[tenants.{tenant}]" for tenant in tenants)]
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    async def start(self, *, ready: bool = True) -> None:
        """Start the process; return when it is ready."""
        with self.stderr.open("wb") as stderr:
            self._process = await asyncio.create_subprocess_exec(
                *self.command("serve"),
                cwd=self.directory,
                env=self.variables(),
                stdin=asyncio.subprocess.DEVNULL,
                stderr=stderr,
            )
        if ready:
            await until(
                lambda: self.events("daemon.ready") or self.process.returncode is not None,
                within=BOOT_SECONDS,
            )
            assert self.process.returncode is None, self.text()

    def command(self, *words: str) -> tuple[str | Path, ...]:
        """Return the command line of one of Insula's commands, for this configuration."""
        program = (sys.executable, "-m", "orchestrator", *words, "--config", str(self.config))
        return (*self.through, *program)

    def variables(self) -> dict[str, str]:
        """Return the environment of the process and of its commands."""
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **self.environ}
        for name in ("INSULA_DATABASE_URL", "DATABASE_URL", "POSTGRESQL_URL"):
            environ.pop(name, None)
        return environ

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process that was started last."""
        assert self._process is not None
        return self._process

    def text(self) -> str:
        """Return what the process wrote to stderr."""
        return self.stderr.read_text(encoding="utf-8")

    def plain_lines(self) -> list[str]:
        """Return what people are told: the lines of stderr that are not of the log."""
        return [line for line in self.text().splitlines() if not line.startswith("{")]

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the log that are JSON."""
        return [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of one event."""
        return [line for line in self.log() if line.get("event") == name]

    def client(self, *, retries: int = RETRIES) -> Client:
        """Return a client over the control socket."""
        return Client(f"unix://{self.directory / 'run' / 'insula.sock'}", retries=retries)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def end(self, within: float = 20.0) -> int:
        """Return the exit code once the process has ended."""
        async with asyncio.timeout(within):
            return await self.process.wait()

    async def stop(self) -> int:
        """Ask the process to drain; return its exit code."""
        self.send(signal.SIGTERM)
        return await self.end()

    async def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self.send(signal.SIGKILL)
        await self.end()

    async def fails(self) -> tuple[int, list[str]]:
        """Start the process, which must end by itself; return its exit code and stderr's lines."""
        await self.start(ready=False)
        code = await self.end(BOOT_SECONDS)
        return code, self.plain_lines()


async def hold(client: Client, directory: Path) -> tuple[RunHandle, Path]:
    """Start a run of acme's; return it once it is under way, and the file that lets it end."""
    arrived, leave = directory / "arrived", directory / "leave"
    given = {"arrived": str(arrived), "leave": str(leave)}
    run = await client.tenant("acme").start("hold", given)
    await until(arrived.exists)
    return run, leave


@asynccontextmanager
async def daemon(directory: Path, **environ: str) -> AsyncIterator[Daemon]:
    """Yield a daemon that is not started yet; what it runs at the end of the block is stopped."""
    made = Daemon(directory, **environ)
    try:
        yield made
    except BaseException:
        if made.stderr.exists():
            print(made.text()[-20_000:])  # noqa: T201 - pytest shows it with the failure
        raise
    finally:
        if made._process is not None and made.process.returncode is None:  # noqa: SLF001
            made.send(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await made.end(10.0)
            if made.process.returncode is None:
                await made.kill()


class NotifySocket:
    """What systemd would listen on.

    A thread reads, as the kernel keeps a few messages only: the daemon loses those beyond.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._received: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self._reading = threading.Lock()
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._keep_reading, daemon=True)
        self._reader.start()

    def _keep_reading(self) -> None:
        while not self._closed.is_set():
            select.select([self._socket], [], [], 0.05)
            self.read()

    def read(self) -> list[dict[str, str]]:
        """Return all messages so far."""
        with self._reading, contextlib.suppress(BlockingIOError):
            while True:
                text = self._socket.recv(65536).decode()
                self._received.append(dict(line.split("=", 1) for line in text.splitlines()))
        return list(self._received)

    def has(self, name: str, value: str | None = None) -> list[dict[str, str]]:
        """Return the messages that hold this variable."""
        return [m for m in self.read() if name in m and value in (None, m[name])]

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        self._reader.join()
        self._socket.close()
