"""The whole life of many tenants: provisioned, used, migrated, backed up, restored, deleted.

    python -m benchmarks.tenants --tenants 1000 --listed 5000 --budget 18

The daemon is a process of its own, asked over its unix socket; the server is durable. One JSON
document on stdout; the same as a table, and what goes on, on stderr. A whole run is kept in
`.bench/tenants.jsonl`, of which `python -m benchmarks.report` makes a page.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
from rich.console import Console

from benchmarks import life_table
from benchmarks.document import commit, machine
from benchmarks.life import Life, LifeDocument, Shares, say
from benchmarks.listed import LOOKS, listed
from benchmarks.served import Served, served
from benchmarks.server import Server
from benchmarks.table import WIDE
from orchestrator import Client
from orchestrator.model.migration import MigrateTenants
from orchestrator.model.version import version
from orchestrator.observability.logging import set_up

AWAKE = 100
SAMPLE = 20
"""One of so many is restored under another id, and as many are made anew at the end."""

CONNECTIONS = 300
WEIGHTS = {
    "register": 15.0,
    "provision": 80.0,
    "start a run": 90.0,
    "stats": 30.0,
    "list": 1.0,
    "migrate": 80.0,
    "migrate together": 30.0,
    "backup": 700.0,
    "restore as another": 10.0,
    "delete": 100.0,
    "register after that": 1.0,
    "provision after that": 5.0,
    "delete once more": 5.0,
    "list declared": 20.0,
}
"""What each may take beside the others, about milliseconds for a tenant; those that come first have
more than they need, and leave it to the others."""

FIRST = """
    CREATE TABLE customer (id bigint PRIMARY KEY, name text NOT NULL);
    CREATE TABLE invoice (
        id bigint PRIMARY KEY, customer bigint NOT NULL REFERENCES customer, cents bigint NOT NULL);
    CREATE INDEX ON invoice (customer);
    INSERT INTO customer SELECT n, 'customer ' || n FROM generate_series(1, 200) AS n;
    INSERT INTO invoice SELECT n, 1 + n % 200, n FROM generate_series(1, 1000) AS n;
"""
SECOND = """
    ALTER TABLE customer ADD COLUMN since date NOT NULL DEFAULT current_date;
    CREATE INDEX ON customer (since);
"""
"""The application's own tables with some rows, and what a later release makes of them."""


async def _register(client: Client, name: str) -> None:
    await client.create_tenant(name)


async def _provision(client: Client, name: str) -> None:
    await client.tenant(name).provision()


async def _use(client: Client, name: str) -> None:
    handle = await client.tenant(name).start("one_step", {})
    await handle.result()


async def _stats(client: Client, name: str) -> None:
    await client.tenant(name).lifecycle.stats()


async def _list(client: Client, _: str) -> None:
    await client.tenants()


async def _migrate(client: Client, name: str) -> None:
    report = await client.migrate(MigrateTenants(tenants=[name]))
    if len(report.migrated) != 1:
        raise RuntimeError(f"{name} was not migrated: {report.failed}")


async def _delete(client: Client, name: str) -> None:
    await client.tenant(name).lifecycle.delete(keep_results=False)


class Course:
    """The life of the tenants of one daemon; `document` has what is known of it so far."""

    def __init__(self, daemon: Served, shares: Shares, document: LifeDocument) -> None:
        self.life = Life(daemon, shares)
        self._document = document
        self._daemon = daemon
        self._shares = shares
        self._migrations = daemon.home / "migrations"
        self._archives = daemon.home / "archives"

    @property
    def document(self) -> LifeDocument:
        """What has been measured so far."""
        return msgspec.structs.replace(self._document, phases=list(self.life.phases))

    async def run(self) -> None:
        """Take them from the registration to the deletion, and look what is left of them."""
        await anyio.Path(self._migrations).mkdir()
        await anyio.Path(self._archives).mkdir()
        settings = ['migrations.path = "migrations"', f"node.max_awake_tenants = {AWAKE}"]
        self._daemon.configure([], settings=settings)
        await self._daemon.start()
        each = self.life.each
        names = [f"tenant_{number:05}" for number in range(self._document.tenants)]
        names = await each("register", names, _register)
        made = await each("provision", names, _provision)
        await each("start a run", made, _use)
        await each("stats", made, _stats)
        await each("list", [""] * LOOKS, _list)
        await self._migrate(made)
        kept = await each("backup", made, self._back_up)
        sizes = [(await file.stat()).st_size async for file in anyio.Path(self._archives).iterdir()]
        self._know(archives_mb=round(sum(sizes) / 2**20, 1))
        copies = await each("restore as another", kept[::SAMPLE], self._restore)
        await each("delete", [*names, *map(_copy, copies)], _delete)
        await self._begin_anew()
        again = [f"again_{number:05}" for number in range(len(kept[::SAMPLE]))]
        again = await each("register after that", again, _register)
        await each("provision after that", again, _provision)
        await each("delete once more", again, _delete)
        self._know(left=await self.life.left())
        await self._daemon.end(signal.SIGTERM)

    async def _migrate(self, names: list[str]) -> None:
        """Make the application's tables in each, then change them in all by one request."""
        await self._daemon.end(signal.SIGTERM)
        first, second = self._migrations / "0001_tables.sql", self._migrations / "0002_since.sql"
        self._know(start_with_all_seconds=round(await self._daemon.start(), 2))
        await anyio.Path(first).write_text(FIRST, encoding="utf-8")
        names = await self.life.each("migrate", names, _migrate)
        await anyio.Path(second).write_text(SECOND, encoding="utf-8")
        ends, began = self._shares.until("migrate together"), time.monotonic()
        with anyio.move_on_after(ends - began) as scope:
            async with self._daemon.client() as client:
                report = await client.migrate(MigrateTenants(tenants=names))
        if scope.cancelled_caught:
            say("migrate together: there was no time for all")
            return
        if len(report.migrated) != len(names):
            raise RuntimeError(f"{len(report.migrated)} of {len(names)} tenants were migrated")
        self._know(migrate_together_seconds=round(time.monotonic() - began, 1))

    async def _begin_anew(self) -> None:
        """Start the daemon as it was at first, without migrations of an application."""
        await self._daemon.end(signal.SIGTERM)
        async for file in anyio.Path(self._migrations).iterdir():
            await file.unlink()
        await self._daemon.start()

    async def _back_up(self, client: Client, name: str) -> None:
        await client.tenant(name).archives.backup(self._archives / f"{name}.tar")

    async def _restore(self, client: Client, name: str) -> None:
        file = self._archives / f"{name}.tar"
        await client.tenant(_copy(name)).archives.restore(file, of=name)

    def _know(self, **facts: object) -> None:
        self._document = msgspec.structs.replace(self._document, **facts)


def _copy(name: str) -> str:
    return f"copy_of_{name}"


@asynccontextmanager
async def _served() -> AsyncIterator[Served]:
    with tempfile.TemporaryDirectory(prefix="insula-bench-") as directory:
        async with served(Path(directory), connections=CONNECTIONS) as daemon:
            yield daemon


class Run:
    """One run of this benchmark: both cases, each on a server of its own."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._course: Course | None = None
        self._began = time.monotonic()
        self._listed: dict[str, float] | None = None
        self.told: int | None = None

    async def measure(self) -> None:
        """Measure until it is done, or a signal says that it is over."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._until_told, group.cancel_scope)
            shares = Shares(60 * self._options.budget, WEIGHTS)
            async with _served() as daemon:
                described = Server(daemon.url, daemon.server_pid, daemon.home).describe
                document = LifeDocument(
                    date=datetime.now(UTC).isoformat(timespec="seconds"),
                    commit=commit(),
                    machine=machine(),
                    postgresql=await anyio.to_thread.run_sync(described),
                    versions={"insula": version()},
                    tenants=self._options.tenants,
                )
                self._course = Course(daemon, shares, document)
                await self._course.run()
            with anyio.move_on_after(shares.until("list declared") - time.monotonic()):
                async with _served() as daemon:
                    self._listed = await listed(daemon, self._options.listed)
            group.cancel_scope.cancel()

    async def _until_told(self, scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                say("broken off: this is what was measured until then")
                self.told = number
                scope.cancel()
                return

    @property
    def document(self) -> LifeDocument | None:
        """What was measured; None when nothing was."""
        if self._course is None:
            return None
        found = self._course.document
        done = found.left is not None and self._listed is not None
        return msgspec.structs.replace(
            found,
            listed=self._listed,
            seconds=round(time.monotonic() - self._began, 1),
            whole=done and all(phase.tenants == phase.of for phase in found.phases),
        )


def main() -> None:
    """Parse the options, measure, print, and keep a whole run for the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=1000, help="to take through their life")
    parser.add_argument("--listed", type=int, default=5000, help="declared tenants to list")
    parser.add_argument("--budget", type=float, default=12.0, help="minutes for all of it")
    run = Run(parser.parse_args())
    set_up("error", "console")
    try:
        anyio.run(run.measure, backend_options={"use_uvloop": True})
    finally:
        _tell(run.document)
    if run.told is not None:
        sys.exit(128 + run.told)
    document = run.document
    if document is None or not document.whole or any((document.left or {}).values()):
        sys.exit(1)


def _tell(document: LifeDocument | None) -> None:
    if document is None:
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        console.width = WIDE
    life_table.show(document, console)
    if document.whole:
        life_table.remember(document)
    print(msgspec.json.format(msgspec.json.encode(document), indent=1).decode())


if __name__ == "__main__":
    main()
