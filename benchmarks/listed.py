"""Lists of thousands of declared tenants, by the client and by the command, which starts Python."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import anyio

from benchmarks.protocol import percentiles
from benchmarks.served import Served
from orchestrator import Client

LOOKS = 5
LIST = (sys.executable, "-m", "orchestrator", "tenant", "list", "--json")
READ = """
    INSERT INTO insula.figures
        (tenant, read_at, runs, failed, day_accepted, day_succeeded, day_failed, day_p50, day_p95,
         schema_bytes, tables, estimated_rows)
    SELECT id, now(), n, n % 7, n % 100, n % 90, n % 7, 0.02, 0.5, n * 8192, 11, n * 9
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM insula.tenant) AS each
"""

Ask = Callable[[Client], Awaitable[int]]


async def listed(daemon: Served, count: int) -> dict[str, float]:
    """List `count` tenants as they are declared, and in figures, as if all had been read."""
    daemon.configure([f"tenant_{number:05}" for number in range(count)])
    await daemon.start()
    connection = await daemon.database()
    try:
        await connection.execute(READ)
    finally:
        await connection.close()
    found: dict[str, float] = {"tenants": count}
    cases: tuple[tuple[str, Ask, Sequence[str]], ...] = (
        ("", _declared, ()),
        ("figures_", _figures, ("--stats",)),
    )
    for name, ask, options in cases:
        asked, told = await _looks(daemon, count, ask, options)
        found[f"{name}client_p50_ms"] = percentiles(asked)["p50_ms"]
        found[f"{name}command_p50_ms"] = percentiles(told)["p50_ms"]
    return found


async def _looks(
    daemon: Served, count: int, ask: Ask, options: Sequence[str]
) -> tuple[list[float], list[float]]:
    """Return the seconds of some looks by the client, and of as many by the command."""
    asked, told = [], []
    async with daemon.client() as client:
        for _ in range(LOOKS):
            began = time.perf_counter()
            found = await ask(client)
            asked.append(time.perf_counter() - began)
            if found != count:
                raise RuntimeError(f"{found} of {count} tenants were listed")
            began = time.perf_counter()
            await anyio.run_process([*LIST, "--config", str(daemon.config), *options])
            told.append(time.perf_counter() - began)
    return asked, told


async def _declared(client: Client) -> int:
    return len(await client.tenants())


async def _figures(client: Client) -> int:
    return (await client.stats(sort="errors")).totals.read
