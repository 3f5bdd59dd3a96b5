"""L: what the machine and PostgreSQL allow, with rows as the journal has them.

Three limits, from far to near: one insert in a commit (pgbench), the same rows by arrays over one
connection, and the bare journal: fenced array inserts as a tenant's group commit sends them, with
nothing above it that plans, runs or encodes anything.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import asyncpg

from benchmarks.protocol import Figures, Order, WrongResult, rate
from orchestrator.store.connect import Connection, Target

CLIENTS = (1, 8, 32)
IN_FLIGHT = (1, 50, 1000)
BATCH = 500
"""Rows in one flush, as the engine's group commit allows."""

ARRAY_ROWS = 1000
ENTRIES = '[{"event":"step.succeeded","output":"' + "x" * 110 + '"}]'
"""150 bytes, about what a step of a small workflow leaves."""

TABLES = """
    CREATE TABLE event (
        run_id uuid NOT NULL, seq integer NOT NULL, epoch bigint NOT NULL, node text NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp(), entries json NOT NULL,
        PRIMARY KEY (run_id, seq));
    CREATE TABLE fence (epoch bigint NOT NULL);
    INSERT INTO fence VALUES (1)
"""
ROWS = """
    INSERT INTO event (run_id, seq, epoch, node, entries)
    SELECT e.run_id, e.seq, 1, 'a', e.entries
    FROM unnest($1::uuid[], $2::int4[], $3::json[]) AS e (run_id, seq, entries)
"""
FENCED = """
    WITH fence AS MATERIALIZED (SELECT epoch FROM fence WHERE epoch = $1 FOR SHARE), logged AS (
        INSERT INTO event (run_id, seq, epoch, node, entries)
        SELECT e.run_id, e.seq, $1, 'a', e.entries
        FROM fence, unnest($2::uuid[], $3::int4[], $4::json[]) AS e (run_id, seq, entries)
        ON CONFLICT DO NOTHING)
    SELECT clock_timestamp() FROM fence
"""
SINGLE = f"""
    INSERT INTO event (run_id, seq, epoch, node, entries)
    VALUES (gen_random_uuid(), 1, 1, 'a', '{ENTRIES}');
"""  # noqa: S608 - the row is ours
_SERVERS = Path("/usr/lib/postgresql")
_TPS = re.compile(rb"tps = ([0-9.]+)")


async def make_tables(order: Order) -> None:
    """Make the journal's table, and a fence."""
    async with _connected(order) as connection:
        await connection.execute(TABLES)


async def limits(order: Order) -> Figures:
    """Measure all three, each figure for `count` tenths of a second (L)."""
    seconds = order.count / 10
    figures = await _pgbench(order, seconds)
    async with _connected(order) as connection:
        figures["array_rows_per_s"] = await _arrays(connection, seconds)
        for flight in IN_FLIGHT:
            name = f"journal_steps_per_s_{flight}_in_flight"
            figures[name] = await _journal(connection, flight, seconds)
    return figures


async def _arrays(connection: Connection, seconds: float) -> float:
    written, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        runs = [uuid4() for _ in range(ARRAY_ROWS)]
        await connection.execute(ROWS, runs, [0] * ARRAY_ROWS, [ENTRIES] * ARRAY_ROWS)
        written += ARRAY_ROWS
    return rate(written, began)


async def _journal(connection: Connection, flight: int, seconds: float) -> float:
    """Return the steps a second of `flight` runs, each of which waits for its commit."""
    turn = _runs(flight)
    written, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        batch = [next(turn) for _ in range(min(flight, BATCH))]
        runs, numbers = [run for run, _ in batch], [number for _, number in batch]
        await connection.fetchval(FENCED, 1, runs, numbers, [ENTRIES] * len(batch))
        written += len(batch)
    return rate(written, began)


def _runs(flight: int) -> Iterator[tuple[UUID, int]]:
    """Yield each run's next step in turn; a run of five steps makes room for another."""
    while True:
        runs = [uuid4() for _ in range(flight)]
        for number in range(5):
            for run in runs:
                yield run, number


async def _pgbench(order: Order, seconds: float) -> Figures:
    """Return single-row commits a second by clients; nothing where there is no pgbench."""
    program = _program()
    if program is None:
        return {}
    script = anyio.Path(order.home / "single.sql")
    await script.write_text(SINGLE.replace("\n", " "), encoding="utf-8")
    target = Target.parse(order.url)
    (host,), figures = re.findall(r"host=([^&]+)", order.url), {}
    whole = max(1, round(seconds))
    for clients in CLIENTS:
        done = await anyio.run_process(
            [program, "--no-vacuum", "--protocol=prepared", f"--time={whole}",
             f"--client={clients}", f"--jobs={min(2, clients)}", f"--file={script}",
             f"--host={host}", "--username=postgres", target.database],
            check=False,
        )  # fmt: skip
        found = _TPS.search(done.stdout)
        if done.returncode or found is None:
            raise WrongResult(f"pgbench failed: {done.stderr.decode(errors='replace')}")
        figures[f"commits_per_s_{clients}_clients"] = float(found[1])
    return figures


def _program() -> str | None:
    """Return the pgbench of the server under test, else of any installation."""
    chosen = os.environ.get("INSULA_TEST_PG_BIN")
    places = [Path(chosen)] if chosen else []
    places += sorted(_SERVERS.glob("*/bin"), reverse=True)
    found = (str(place / "pgbench") for place in places if (place / "pgbench").exists())
    return next(found, None) or shutil.which("pgbench")


@asynccontextmanager
async def _connected(order: Order) -> AsyncIterator[Connection]:
    connection: Connection = await asyncpg.connect(order.url)
    try:
        yield connection
    finally:
        await connection.close()
