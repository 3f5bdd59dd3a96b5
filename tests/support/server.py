"""The PostgreSQL server of a test session.

In this order: INSULA_TEST_DSN, a superuser's URL to a server that checks passwords;
INSULA_TEST_PG_BIN, the directory of a server's programs; a Docker engine; the embedded server.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from orchestrator.store.connect import Target
from orchestrator.store.embedded import EmbeddedPostgres, Tuning
from orchestrator.store.tenant.login import try_login

_IMAGE = "postgres:18-alpine"
_UNSAFE_AND_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "64MB",
    "max_connections": "200",
}
_ROOM = 2 * 1024**3
TRUSTING = "insula_trusting"
"""A database, if somebody makes it, of which the server asks nobody for a password."""

CHECKED = (
    "local all postgres trust",
    f"local {TRUSTING} all trust",
    "local all all scram-sha-256",
)
"""Access rules under which every login but the superuser's has its password checked."""


@contextmanager
def running_server() -> Iterator[Target]:
    """Yield the superuser's way to a server that lives as long as the block."""
    if url := os.environ.get("INSULA_TEST_DSN"):
        yield Target.parse(url)
    elif "INSULA_TEST_PG_BIN" not in os.environ and _docker_answers():
        with _container() as target:
            yield target
    else:
        with _local() as target:
            yield target


async def must_let_in(login: Target) -> None:
    """Fail unless the server takes any password, as ours does (`CHECKED`); skip for another one."""
    if await try_login(login, name="insula test") == "accepted":
        return
    ours = "INSULA_TEST_DSN" not in os.environ and (
        "INSULA_TEST_PG_BIN" in os.environ or not _docker_answers()
    )
    assert not ours, "the access rules of the tests' own server are not in force"
    pytest.skip("this server, which is not ours, asks for passwords everywhere")


def server_binaries() -> Path | None:
    """Return the programs that tests of the embedded server use; None is those of the wheel."""
    found = os.environ.get("INSULA_TEST_PG_BIN")
    return Path(found) if found else None


@contextmanager
def reachable_directory() -> Iterator[Path]:
    """Yield a directory that another user can pass, which pytest's tmp_path is not for root."""
    directory = Path(tempfile.mkdtemp(prefix="insula-test-", dir=_in_memory())).resolve()
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class OwnServer:
    """A server of the test's own, to be stopped and started."""

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, str] | None = None,
        *,
        binaries: Path | None = None,
    ) -> None:
        directory.mkdir(mode=0o711)
        self._directory = directory
        self._binaries = binaries
        # What it has said to be committed must outlive it, though not the machine.
        self._settings = {"fsync": "off", **(settings or {})}
        self._server = self._new()

    def _new(self) -> EmbeddedPostgres:
        tuning = Tuning(settings=self._settings)
        return EmbeddedPostgres(self._directory, tuning=tuning, bin_dir=self._binaries)

    async def start(self) -> Target:
        """Bring it up, always at the same place."""
        self._server = self._new()
        return Target.parse(await self._server.start())

    async def stop(self) -> None:
        """Take it down, as `systemctl stop postgresql` does."""
        await self._server.stop()

    async def crash(self) -> None:
        """Have it end in immediate mode: without a farewell or a checkpoint, as when it dies."""
        if self._server.pid is not None:
            os.kill(self._server.pid, signal.SIGQUIT)
        await self._server.stop()


@asynccontextmanager
async def own_server(
    directory: Path, settings: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[OwnServer, Target]]:
    """Yield a server that runs, of the version that is tested."""
    async with server_of(server_binaries(), directory, settings) as running:
        yield running


@asynccontextmanager
async def server_of(
    binaries: Path | None, directory: Path, settings: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[OwnServer, Target]]:
    """Yield a server that runs with these programs; None is those of the wheel."""
    server = OwnServer(directory, settings, binaries=binaries)
    target = await server.start()
    try:
        yield server, target
    finally:
        await server.stop()


@contextmanager
def _local() -> Iterator[Target]:
    with reachable_directory() as directory:
        tuning = Tuning(settings=_UNSAFE_AND_FAST, access=CHECKED)
        server = EmbeddedPostgres(directory, tuning=tuning, bin_dir=server_binaries())
        url = asyncio.run(server.start())
        try:
            yield Target.parse(url).with_database("postgres")
        finally:
            asyncio.run(server.stop())


def _in_memory() -> Path | None:
    """Return a file system in memory with room for the server; None where there is none.

    A test makes and removes some hundred files; on a disk that is most of its time.
    """
    memory = Path("/dev/shm")
    if not memory.is_dir() or not os.access(memory, os.W_OK):
        return None
    return memory if shutil.disk_usage(memory).free > _ROOM else None


@contextmanager
def _container() -> Iterator[Target]:
    # Imported by name: it costs half a second, and only who has an engine needs it.
    postgres = importlib.import_module("testcontainers.postgres")
    with postgres.PostgresContainer(_IMAGE, driver=None) as container:
        yield Target.parse(container.get_connection_url())


def _docker_answers() -> bool:
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(host.removeprefix("unix://")) == 0
