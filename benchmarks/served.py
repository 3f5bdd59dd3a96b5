"""The daemon as a process of its own over a durable embedded server, and what it costs."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc

from benchmarks import processes
from benchmarks.protocol import until
from orchestrator import Client
from orchestrator.store.connect import Connection, Target, connect
from orchestrator.store.embedded import EmbeddedPostgres, Tuning

ROOT = Path(__file__).parents[1]
BOOT_SECONDS = 60.0
FILE_TENANTS = 1000


class Served:
    """One configuration, the server under it, and the daemon that runs at the moment."""

    def __init__(self, home: Path, url: str, server_pid: int = 0) -> None:
        self.home = home
        self.url = url
        self.server_pid = server_pid
        self.config = home / "insula.toml"
        self._process: anyio.abc.Process | None = None

    def configure(self, tenants: Iterable[str], *, settings: Iterable[str] = ()) -> None:
        """Write the main file, and the tenants in files of a thousand."""
        lines = [
            f'database.url = "{self.url}"',
            f'node.state_dir = "{self.home / "state"}"',
            f'node.runtime_dir = "{self.home / "run"}"',
            'workflows.modules = ["benchmarks.workloads"]',
            'include = ["tenants.d/*.toml"]',
            *settings,
        ]
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        (self.home / "tenants.d").mkdir(exist_ok=True)
        names = list(tenants)
        for start in range(0, len(names), FILE_TENANTS):
            tables = (f"[tenants.{name}]\nweight = 1\n" for name in names[start:][:FILE_TENANTS])
            self.file_of(start).write_text("".join(tables), encoding="utf-8")

    def file_of(self, number: int) -> Path:
        """Return the file that declares the tenant of this number."""
        return self.home / "tenants.d" / f"{number // FILE_TENANTS:03}.toml"

    async def start(self) -> float:
        """Start the daemon; return the seconds until it was ready."""
        began = time.perf_counter()
        command = [sys.executable, "-m", "orchestrator", "serve", "--config", str(self.config)]
        with (self.home / "stderr.log").open("wb") as stderr:
            self._process = await anyio.open_process(
                command,
                cwd=self.home,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=None,
                stdout=None,
                stderr=stderr,
            )
        await until(self._is_ready, seconds=BOOT_SECONDS)
        return time.perf_counter() - began

    async def _is_ready(self) -> bool:
        if self.process.returncode is not None:
            raise RuntimeError((self.home / "stderr.log").read_text(encoding="utf-8"))
        return b"daemon.ready" in await anyio.Path(self.home / "stderr.log").read_bytes()

    @property
    def process(self) -> anyio.abc.Process:
        """The process that was started last."""
        if self._process is None:
            raise RuntimeError("the daemon was not started")
        return self._process

    async def end(self, number: signal.Signals) -> None:
        """Send a signal that ends the daemon, and wait for that."""
        self.process.send_signal(number)
        await self.process.wait()

    def client(self) -> Client:
        """Return a client over the control socket."""
        return Client(f"unix://{self.home / 'run' / 'insula.sock'}")

    def memory_mb(self) -> float:
        """Return the daemon's resident memory."""
        return round(processes.memory_bytes(self.process.pid) / 2**20, 1)

    def peak_memory_mb(self) -> float:
        """Return the most resident memory that the daemon has had since its start."""
        return round(processes.peak_memory_bytes(self.process.pid) / 2**20, 1)

    def cpu_seconds(self) -> float:
        """Return the processor time that the daemon has used."""
        return processes.cpu_seconds(self.process.pid)

    async def database(self) -> Connection:
        """Return a connection to look at the server with."""
        return await connect(Target.parse(self.url), application_name="benchmark")


@asynccontextmanager
async def served(home: Path, *, connections: int) -> AsyncIterator[Served]:
    """Yield a daemon that is not started yet; what it runs at the end of the block is killed."""
    await anyio.Path(home).chmod(0o711)
    async with EmbeddedPostgres(home, tuning=Tuning(max_connections=connections)) as server:
        made = Served(home, server.url, server.pid or 0)
        try:
            yield made
        finally:
            with anyio.CancelScope(shield=True):
                if made._process is not None and made.process.returncode is None:  # noqa: SLF001
                    await made.end(signal.SIGKILL)
