"""What many tenants cost: to declare, to wake, to reload, and to recover after kill -9.

    python -m benchmarks.supervision --cases recovery declared dormant reload

The daemon is a process of its own, asked over its unix socket; the server is durable.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from benchmarks.protocol import percentiles, until
from benchmarks.served import Served, served
from orchestrator import Client
from orchestrator.model.api import StartRun
from orchestrator.observability.logging import set_up

Figures = dict[str, Any]

LOOK_SECONDS = 0.05
"""How often a daemon that recovers is asked how far it is: each question costs what it measures."""


async def recovery(daemon: Served, options: argparse.Namespace) -> Figures:
    """Kill the daemon while runs are running; measure until all of them run again."""
    names = [f"t{number}" for number in range(options.awake)]
    runs = options.runs
    daemon.configure(
        names,
        settings=[
            f"node.max_awake_tenants = {options.awake}",
            f"node.max_concurrent_tasks = {runs}",
        ],
    )
    await daemon.start()
    async with daemon.client() as client:
        for name in names:
            lot = [StartRun(workflow="hold")] * (runs // len(names))
            await client.tenant(name).start_many(lot)
        await until(lambda: _running(client, runs))
    await daemon.end(signal.SIGKILL)
    began = time.perf_counter()
    ready = await daemon.start()
    async with daemon.client() as client:
        await until(lambda: _running(client, runs), look=LOOK_SECONDS)
    return {
        "tenants": len(names),
        "runs": runs,
        "start_to_ready_seconds": round(ready, 2),
        "start_to_all_running_seconds": round(time.perf_counter() - began, 2),
    }


async def _running(client: Client, count: int) -> bool:
    return (await client.status()).running_tasks == count


async def declared(daemon: Served, options: argparse.Namespace) -> Figures:
    """Declare tenants and let them sleep."""
    daemon.configure(_many(options.declared))
    first = await daemon.start()
    await daemon.end(signal.SIGTERM)
    again = await daemon.start()
    await anyio.sleep(1.0)
    memory = daemon.memory_mb()
    before, began = daemon.cpu_seconds(), time.perf_counter()
    await anyio.sleep(options.idle)
    cpu = (daemon.cpu_seconds() - before) / (time.perf_counter() - began)
    connection = await daemon.database()
    rows = await connection.fetch(
        "SELECT application_name, count(*) FROM pg_stat_activity"
        " WHERE application_name LIKE 'insula%' GROUP BY 1"
    )
    await connection.close()
    return {
        "tenants": options.declared,
        "first_start_to_ready_seconds": round(first, 2),
        "start_to_ready_seconds": round(again, 2),
        "memory_mb": memory,
        "idle_cpu_percent": round(cpu * 100, 2),
        "connections": {row[0]: row[1] for row in rows},
    }


async def dormant(daemon: Served, options: argparse.Namespace) -> Figures:
    """Wake sleeping tenants one after the other: from the submit to the start of the task."""
    names = _many(options.woken)
    daemon.configure(names, settings=['supervision.idle_ttl = "0s"'])
    await daemon.start()
    async with daemon.client() as client:
        made = [await _to_first_task(client, name) for name in names]
        await until(lambda: _all_dormant(client))
        woken = []
        for _ in range(options.rounds):
            woken += [await _to_first_task(client, name) for name in names]
            await until(lambda: _all_dormant(client))
    return {"tenants": len(names), "never_used": percentiles(made), "dormant": percentiles(woken)}


async def _to_first_task(client: Client, tenant: str) -> float:
    """Return the seconds from the submit to the first statement of the task."""
    began = time.monotonic()
    handle = await client.tenant(tenant).start("moment", {})
    view = await handle.result()
    return float(view.output) - began


async def _all_dormant(client: Client) -> bool:
    return set((await client.status()).slots) == {"dormant"}


async def reload(daemon: Served, options: argparse.Namespace) -> Figures:
    """Change one tenant of many, and watch how long the daemon leaves others without an answer."""
    daemon.configure(_many(options.declared))
    await daemon.start()
    path = anyio.Path(daemon.file_of(0))
    original = await path.read_text(encoding="utf-8")
    taken: list[float] = []
    waits: list[float] = []
    async with daemon.client() as client, daemon.client() as other:
        for turn in range(options.rounds):
            changed = original.replace("weight = 1", f"weight = {turn + 2}", 1)
            await path.write_text(changed, encoding="utf-8")
            began = time.perf_counter()
            async with anyio.create_task_group() as group:
                group.start_soon(_watch, other, waits)
                report = await client.reload()
                taken.append(time.perf_counter() - began)
                group.cancel_scope.cancel()
            if len(report.changed) != 1:
                raise RuntimeError(f"the reload has changed {report.changed}")
    return {
        "tenants": options.declared,
        "seconds": [round(each, 2) for each in taken],
        "longest_answer_meanwhile_ms": round(max(waits), 1),
        "median_answer_meanwhile_ms": round(statistics.median(waits), 1),
    }


async def _watch(client: Client, waits: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await client.status()
        waits.append((time.perf_counter() - began) * 1000)
        await anyio.sleep(0.002)


def _many(count: int) -> list[str]:
    return [f"tenant_{number:05}" for number in range(count)]


CASES: dict[str, Callable[[Served, argparse.Namespace], Awaitable[Figures]]] = {
    "recovery": recovery,
    "declared": declared,
    "dormant": dormant,
    "reload": reload,
}


async def measure(options: argparse.Namespace) -> Figures:
    """Run the cases, each on a server of its own, and return the document."""
    results: Figures = {}
    for case in options.cases:
        with tempfile.TemporaryDirectory(prefix="insula-bench-") as directory:
            async with served(Path(directory), connections=3 * options.awake + 20) as daemon:
                results[case] = await CASES[case](daemon, options)
        print(json.dumps({case: results[case]}), file=sys.stderr)
    return {"benchmark": "supervision", "python": platform.python_version(), **results}


def main() -> None:
    """Parse the options, measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--awake", type=int, default=100, help="tenants to recover")
    parser.add_argument("--runs", type=int, default=1000, help="running runs to recover")
    parser.add_argument("--declared", type=int, default=10_000, help="tenants of the files")
    parser.add_argument("--idle", type=float, default=20.0, help="seconds of doing nothing")
    parser.add_argument("--woken", type=int, default=100, help="tenants to wake")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    set_up("error", "console")
    # As Ctrl-C, so that no server is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    document = anyio.run(measure, options, backend_options={"use_uvloop": True})
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
