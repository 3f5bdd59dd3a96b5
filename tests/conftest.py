"""What every test may ask for: a server for the session, a database for itself."""

from __future__ import annotations

import asyncio
import gc
import operator
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from orchestrator.settings.shards import ShardConfig
from orchestrator.store import connect
from orchestrator.store.connect import Target
from tests.support.database import Database, Databases
from tests.support.server import reachable_directory, running_server

# What a shell starts in the background ignores Ctrl-C, and so would all that is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How many examples of the engine's model: `make test-slow` and `make soak` ask for these profiles.
settings.register_profile("model", settings.get_profile("ci"), max_examples=2_000)
settings.register_profile("soak", max_examples=50_000, print_blob=True)

_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}


def pytest_collection_finish() -> None:
    """Spare the garbage collector what lives as long as the session."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def server() -> Iterator[Target]:
    """Yield the superuser's way to the server of this session."""
    with running_server() as target:
        yield target


@pytest.fixture(scope="session")
def databases(server: Target) -> Iterator[Databases]:
    """Yield what lends each test its database."""
    made = Databases(server)
    yield made
    asyncio.run(made.drop())


@pytest.fixture(scope="session")
def server_version(server: Target) -> int:
    """Return the major version of the server."""

    async def ask() -> int:
        connection = await connect.connect(server, application_name="insula test")
        try:
            return connection.get_server_version().major
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.fixture
async def database(
    request: pytest.FixtureRequest, databases: Databases, server_version: int
) -> AsyncIterator[Database]:
    """Yield a database with a control schema; @pytest.mark.pg(">=16") limits where it runs."""
    for mark in request.node.iter_markers("pg"):
        wanted = re.fullmatch(r"([<>=]+)(\d+)", mark.args[0])
        assert wanted is not None, f"not a comparison: {mark.args[0]}"
        if not _COMPARISONS[wanted[1]](server_version, int(wanted[2])):
            pytest.skip(f"needs PostgreSQL {mark.args[0]}, this is {server_version}")
    async with databases.lend() as lent:
        yield lent


@pytest.fixture(scope="session")
def further_databases(server: Target) -> Iterator[Databases]:
    """Yield what lends a second database, beside that of the test."""
    made = Databases(server)
    yield made
    asyncio.run(made.drop())


@pytest.fixture
async def shard(database: Database, further_databases: Databases) -> AsyncIterator[ShardConfig]:
    """Yield shard `eu`, an empty database beside that of the test."""
    del database  # it has to outlive this one, whose roles it drops
    async with further_databases.lend_empty() as target:
        yield ShardConfig(name="eu", url=target.url)


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """Yield a directory that the server's user can reach, which tmp_path is not for root."""
    with reachable_directory() as directory:
        yield directory
