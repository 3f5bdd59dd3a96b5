"""The whole life of many tenants: provisioned, migrated, backed up, deleted, restored, one by one.

    python -m benchmarks.tenants --tenants 1000 --listed 5000

The daemon is a process of its own, asked over its unix socket; the server is durable. One JSON
document on stdout; the same as a table, and what goes on, on stderr.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import processes
from benchmarks.document import machine
from benchmarks.protocol import percentiles
from benchmarks.served import Served, served
from benchmarks.table import WIDE, number
from orchestrator import Client
from orchestrator.model.migration import MigrateTenants
from orchestrator.observability.logging import set_up

TARGET_MS = 60.0
"""The median of a provisioning with all the others present."""

LAST = 10
"""A tenth of the tenants: those for which nearly all the others are present."""

LOOKS = 5
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

LIST = (sys.executable, "-m", "orchestrator", "tenant", "list", "--json")
READ = """
    INSERT INTO insula.figures
        (tenant, read_at, runs, failed, day_accepted, day_succeeded, day_failed, day_p50, day_p95,
         schema_bytes, tables, estimated_rows)
    SELECT id, now(), n, n % 7, n % 100, n % 90, n % 7, 0.02, 0.5, n * 8192, 11, n * 9
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM insula.tenant) AS each
"""


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One verb done to every tenant, and what is used when it has been.

    `cpu_ms` is the processor time for one tenant, of the daemon and the server.
    """

    verb: str
    tenants: int
    seconds: float
    p50_ms: float
    p99_ms: float
    last_tenth_p50_ms: float
    cpu_ms: float
    database_mb: float
    daemon_mb: float
    server_mb: float


class Life:
    """Does one verb after the other to all tenants, and keeps what each has cost."""

    def __init__(self, daemon: Served, names: Sequence[str]) -> None:
        self.phases: list[Phase] = []
        self._daemon = daemon
        self._names = names

    async def each(self, verb: str, do: Callable[[Client, str], Awaitable[object]]) -> None:
        """Do something to each tenant, one after the other."""
        taken: list[float] = []
        began, used = time.perf_counter(), self._cpu_seconds()
        async with self._daemon.client() as client:
            for name in self._names:
                before = time.perf_counter()
                await do(client, name)
                taken.append(time.perf_counter() - before)
        cuts = percentiles(taken)
        self.phases.append(
            Phase(
                verb=verb,
                tenants=len(self._names),
                seconds=round(time.perf_counter() - began, 1),
                p50_ms=cuts["p50_ms"],
                p99_ms=cuts["p99_ms"],
                last_tenth_p50_ms=percentiles(last_tenth(taken))["p50_ms"],
                cpu_ms=1000 * (self._cpu_seconds() - used) / len(self._names),
                database_mb=round(await self._database_mb(), 1),
                daemon_mb=self._daemon.memory_mb(),
                server_mb=round(processes.tree_memory_bytes(self._daemon.server_pid) / 2**20, 1),
            )
        )
        print(json.dumps(msgspec.to_builtins(self.phases[-1])), file=sys.stderr, flush=True)

    def _cpu_seconds(self) -> float:
        daemon = self._daemon
        return daemon.cpu_seconds() + processes.tree_cpu_seconds(daemon.server_pid)

    async def _database_mb(self) -> float:
        connection = await self._daemon.database()
        try:
            size: int = await connection.fetchval("SELECT pg_database_size(current_database())")
        finally:
            await connection.close()
        return size / 2**20


def last_tenth(taken: Sequence[float]) -> Sequence[float]:
    """Return the last tenth of the times, two of them at least."""
    return taken[-max(2, len(taken) // LAST) :]


async def _register(client: Client, name: str) -> None:
    await client.create_tenant(name)


async def _provision(client: Client, name: str) -> None:
    await client.tenant(name).provision()


async def _stats(client: Client, name: str) -> None:
    await client.tenant(name).lifecycle.stats()


async def _migrate(client: Client, name: str) -> None:
    report = await client.migrate(MigrateTenants(tenants=[name]))
    if len(report.migrated) != 1:
        raise RuntimeError(f"{name} was not migrated: {report.failed}")


async def _delete(client: Client, name: str) -> None:
    await client.tenant(name).lifecycle.delete(keep_results=False)


async def _migrate_together(daemon: Served, count: int) -> float:
    """Migrate all tenants by one request, four at a time; return the seconds that takes."""
    began = time.perf_counter()
    async with daemon.client() as client:
        report = await client.migrate()
    if len(report.migrated) != count:
        raise RuntimeError(f"{len(report.migrated)} of {count} tenants were migrated")
    return time.perf_counter() - began


async def life(daemon: Served, count: int) -> dict[str, Any]:
    """Take `count` tenants through their life."""
    migrations = anyio.Path(daemon.home / "migrations")
    await migrations.mkdir()
    daemon.configure([], settings=['migrations.path = "migrations"'])
    names = [f"tenant_{number:05}" for number in range(count)]
    done = Life(daemon, names)
    await daemon.start()
    await done.each("register", _register)
    await done.each("provision", _provision)
    await done.each("stats", _stats)
    await (migrations / "0001_tables.sql").write_text(FIRST, encoding="utf-8")
    await daemon.end(signal.SIGTERM)
    again = await daemon.start()
    await done.each("migrate", _migrate)
    await (migrations / "0002_since.sql").write_text(SECOND, encoding="utf-8")
    await daemon.end(signal.SIGTERM)
    await daemon.start()
    together = await _migrate_together(daemon, count)
    archives = daemon.home / "archives"
    await anyio.Path(archives).mkdir()

    async def back_up(client: Client, name: str) -> None:
        await client.tenant(name).archives.backup(archives / f"{name}.tar")

    async def restore(client: Client, name: str) -> None:
        await client.tenant(name).archives.restore(archives / f"{name}.tar")

    await done.each("backup", back_up)
    size = sum([(await each.stat()).st_size async for each in anyio.Path(archives).iterdir()])
    await done.each("delete", _delete)
    await done.each("restore", restore)
    await done.each("delete", _delete)
    return {
        "archives_mb": round(size / 2**20, 1),
        "phases": [msgspec.to_builtins(phase) for phase in done.phases],
        "start_with_all_seconds": round(again, 2),
        "migrate_together_seconds": round(together, 1),
        "provision_met": done.phases[1].last_tenth_p50_ms <= TARGET_MS,
    }


async def listed(daemon: Served, count: int) -> dict[str, Any]:
    """List `count` declared tenants, by the client and by the command, which starts Python.

    Once as they are declared, and once in figures, as if all of them had been read.
    """
    daemon.configure([f"tenant_{number:05}" for number in range(count)])
    await daemon.start()
    connection = await daemon.database()
    try:
        await connection.execute(READ)
    finally:
        await connection.close()

    async def declared(client: Client) -> int:
        return len(await client.tenants())

    async def figures(client: Client) -> int:
        return (await client.stats(sort="errors")).totals.read

    document: dict[str, Any] = {"tenants": count}
    async with daemon.client() as client:
        for name, ask, options in (("", declared, []), ("figures_", figures, ["--stats"])):
            asked, told = [], []
            for _ in range(LOOKS):
                began = time.perf_counter()
                found = await ask(client)
                asked.append(time.perf_counter() - began)
                if found != count:
                    raise RuntimeError(f"{found} of {count} tenants were listed")
                began = time.perf_counter()
                await anyio.run_process([*LIST, "--config", str(daemon.config), *options])
                told.append(time.perf_counter() - began)
            document[f"{name}client_p50_ms"] = percentiles(asked)["p50_ms"]
            document[f"{name}command_p50_ms"] = percentiles(told)["p50_ms"]
    return document


def show(document: dict[str, Any], console: Console) -> None:
    """Print what was measured as a table."""
    table = Table(title="the life of a tenant, one after the other", title_justify="left")
    for name in Phase.__struct_fields__:
        table.add_column(name.replace("_", " "), justify="left" if name == "verb" else "right")
    for phase in document["life"]["phases"]:
        verb, *figures = phase.values()
        table.add_row(verb, *(number(figure) for figure in figures))
    console.print(table)
    met = "met" if document["life"]["provision_met"] else "missed"
    console.print(f"the target of {TARGET_MS:g} ms for a provisioning with all present is {met}")
    together = document["life"]["migrate_together_seconds"]
    console.print(f"all migrated by one request, four at a time: {together:g} s")
    console.print(f"archives: {document['life']['archives_mb']:g} MB")
    found = document["listed"]
    console.print(
        f"list of {found['tenants']} tenants: {found['client_p50_ms']:.0f} ms by the client, "
        f"{found['command_p50_ms']:.0f} ms by the command; in figures "
        f"{found['figures_client_p50_ms']:.0f} and {found['figures_command_p50_ms']:.0f} ms"
    )


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure both, each on a server of its own, and return the document."""
    document: dict[str, Any] = {"benchmark": "tenants", "machine": machine()}
    for name, case, count in (("life", life, options.tenants), ("listed", listed, options.listed)):
        with tempfile.TemporaryDirectory(prefix="insula-bench-") as directory:
            async with served(Path(directory), connections=300) as daemon:
                document[name] = await case(daemon, count)
    return document


def main() -> None:
    """Parse the options, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=1000, help="to take through their life")
    parser.add_argument("--listed", type=int, default=5000, help="declared tenants to list")
    options = parser.parse_args()
    set_up("error", "console")
    # As Ctrl-C, so that no server is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    document = anyio.run(measure, options, backend_options={"use_uvloop": True})
    console = Console(stderr=True)
    if not console.is_terminal:
        console.width = WIDE
    show(document, console)
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
