"""The daemon as a process of its own over a durable server that outlives it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from benchmarks.cases.daemons import boot
from examples.flights.process import Daemon
from orchestrator import Client
from orchestrator.store.connect import Connection, Target, connect
from orchestrator.store.embedded import EmbeddedPostgres, Tuning

FILE_TENANTS = 1000


class Served:
    """One configuration, the server under it, and the daemon that runs at the moment."""

    def __init__(self, home: Path, url: str) -> None:
        self.home = home
        self.url = url
        self.daemon = Daemon(home / "insula.toml", home)
        self.pid = 0

    def configure(self, tenants: Iterable[str], *, settings: Iterable[str] = ()) -> None:
        """Write the main file, and the tenants in files of a thousand."""
        lines = [
            f'database.url = "{self.url}"',
            'workflows.modules = ["benchmarks.workloads"]',
            'include = ["tenants.d/*.toml"]',
            *settings,
        ]
        (self.home / "insula.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (self.home / "tenants.d").mkdir(exist_ok=True)
        names = list(tenants)
        for start in range(0, len(names), FILE_TENANTS):
            tables = (f"[tenants.{name}]\nweight = 1\n" for name in names[start:][:FILE_TENANTS])
            self.file_of(start).write_text("".join(tables), encoding="utf-8")

    def file_of(self, number: int) -> Path:
        """Return the file that declares the tenant of this number."""
        return self.home / "tenants.d" / f"{number // FILE_TENANTS:03}.toml"

    async def start(self) -> float:
        """Start the daemon; return the seconds until it answered."""
        began = time.perf_counter()
        async with self.client() as client:
            self.pid = await boot(self.daemon, client)
        return time.perf_counter() - began

    async def stop(self) -> None:
        """Let the daemon drain."""
        await anyio.to_thread.run_sync(self.daemon.stop)

    def client(self) -> Client:
        """Return a client over the control socket."""
        return Client(self.daemon.url, retries=0)

    async def database(self) -> Connection:
        """Return a connection to look at the server with."""
        return await connect(Target.parse(self.url), application_name="benchmark")


@asynccontextmanager
async def served(home: Path, *, connections: int) -> AsyncIterator[Served]:
    """Yield a daemon that is not started yet; what it runs at the end of the block is killed."""
    await anyio.Path(home).chmod(0o711)  # the server runs as another user when we are root
    async with EmbeddedPostgres(home, tuning=Tuning(max_connections=connections)) as server:
        made = Served(home, server.url)
        try:
            yield made
        finally:
            made.daemon.kill()
