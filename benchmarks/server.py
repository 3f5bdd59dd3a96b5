"""The PostgreSQL server that everything is measured on: our own, durable, told about in full."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.processes import tree_cpu_seconds
from orchestrator.store.connect import Connection, Target
from orchestrator.store.embedded import EmbeddedPostgres, Tuning

CONNECTIONS = 1200
"""Of the server: 500 tenants awake, each with its own, and the widest peer."""

SETTINGS = (
    "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "wal_level",
    "shared_buffers", "max_wal_size", "checkpoint_timeout", "max_connections", "autovacuum",
    "jit", "data_checksums",
)  # fmt: skip
"""What decides over the cost of a commit; printed with every result."""

LEAVE_SECONDS = 5.0
_SYNCS = 200
_PRESENT = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'
"""


class Server:
    """A running server, for the harness: databases, counters, processor time."""

    def __init__(self, url: str, pid: int, directory: Path) -> None:
        self._target = Target.parse(url).with_database("postgres")
        self._pid = pid
        self._directory = directory

    def create(self, name: str) -> None:
        """Make an empty database."""
        self._ask(f"CREATE DATABASE {name} TEMPLATE template0")

    def url(self, name: str) -> str:
        """Return the superuser's URL of a database."""
        return self._target.with_database(name).url

    def drop(self, name: str) -> None:
        """Drop a database, so that nothing is vacuumed in it while others are measured."""
        self._ask(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def checkpoint(self) -> None:
        """Write what is dirty now, not while the next is measured."""
        self._ask("CHECKPOINT")

    def commits(self, name: str) -> int:
        """Return how many transactions were committed in a database, once nobody is in it.

        A backend tells the last of what it counted when it ends, which is after its client.
        """
        deadline = time.monotonic() + LEAVE_SECONDS
        while self._ask(_PRESENT, name) and time.monotonic() < deadline:
            time.sleep(0.01)
        count: int = self._ask(
            "SELECT coalesce(xact_commit, 0) FROM pg_stat_database WHERE datname = $1", name
        )
        return count

    def cpu_seconds(self) -> float:
        """Return the processor time of all the server's processes so far."""
        return tree_cpu_seconds(self._pid)

    def describe(self) -> dict[str, Any]:
        """Return the version, the settings that matter, and what a flush to the disk takes."""
        settings = {name: self._ask(f"SHOW {name}") for name in SETTINGS}
        return {
            "version": self._ask("SHOW server_version"),
            "settings": settings,
            "fdatasync_us": fdatasync_us(self._directory),
            "file_system": file_system(self._directory),
        }

    def _ask(self, query: str, *arguments: object) -> Any:
        async def ask() -> Any:
            connection: Connection = await asyncpg.connect(self._target.url)
            try:
                return await connection.fetchval(query, *arguments)
            finally:
                await connection.close()

        return asyncio.run(ask())


@contextmanager
def running() -> Iterator[tuple[Server, Path]]:
    """Start a server in a new directory; yield it, and the directory for whatever else there is.

    INSULA_TEST_PG_BIN names the programs; without it they are those of the `embedded` extra. The
    directory is below TMPDIR, which should be on a disk: a sync in memory costs nothing.
    """
    directory = Path(tempfile.mkdtemp(prefix="insula-bench-")).resolve()
    directory.chmod(0o711)  # the server runs as another user when we are root
    chosen = os.environ.get("INSULA_TEST_PG_BIN")
    postgres = EmbeddedPostgres(
        directory,
        tuning=Tuning(max_connections=CONNECTIONS),
        bin_dir=Path(chosen) if chosen else None,
    )
    try:
        url = asyncio.run(postgres.start())
        yield Server(url, postgres.pid or 0, directory), directory
    finally:
        asyncio.run(postgres.stop())
        shutil.rmtree(directory, ignore_errors=True)


def fdatasync_us(directory: Path) -> float:
    """Return the median time, in microseconds, of a page's write and fdatasync in `directory`."""
    path, page, taken = directory / "sync", bytes(8192), []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            os.pwrite(descriptor, page, 0)
            os.fdatasync(descriptor)
            taken.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(taken) * 1e6


def file_system(directory: Path) -> str:
    """Return the type of the file system that `directory` is on, as the kernel calls it."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    fitting = [(point, kind) for point, kind in mounts if directory.is_relative_to(point)]
    return max(fitting, key=lambda each: len(each[0]))[1] if fitting else "unknown"
