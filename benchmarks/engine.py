"""What the engine costs: steps per second, flushes, rows, commits and statements, latency, memory.

    python -m benchmarks.engine --tenants 1 100 --flight 1 50 1000 --seconds 5

One JSON document on standard output, progress on standard error. The daemon's own parts run in
this process on a durable embedded server; only HTTP is left out. `--flight` is how many runs are
under way at a time, over all tenants together. A case ends after `--seconds` or `--runs`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

from benchmarks.engine_cost import Meter, latency, memory
from benchmarks.node import in_process, names, run_in_lots
from orchestrator.daemon.wiring import Parts
from orchestrator.model.api import CreateTenant, StartRun
from orchestrator.model.ids import TenantId
from orchestrator.observability.logging import set_up

STEPS = {"one_step": 1, "chain_of_five": 5}
MODULES = ["benchmarks.workloads", "benchmarks.engine_workloads"]


async def throughput(
    parts: Parts, tenants: Sequence[TenantId], workflow: str, flight: int, most: tuple[int, float]
) -> dict[str, Any]:
    """Measure at `most` so many runs, or seconds, with `flight` of them under way at a time.

    Fewer runs under way than tenants go round: each driver has a share of the tenants.
    """
    drivers = min(flight, len(tenants))
    lot, (runs, seconds) = flight // drivers, most
    for tenant in tenants:
        await run_in_lots(parts, tenant, [StartRun(workflow=workflow)], 1)
    left = runs // lot
    done = 0

    async def drive(share: Sequence[TenantId]) -> None:
        nonlocal left, done
        for tenant in itertools.cycle(share):
            if left <= 0 or time.perf_counter() > ends_at:
                return
            left -= 1
            await run_in_lots(parts, tenant, [StartRun(workflow=workflow)] * lot, lot)
            done += lot

    meter = Meter(parts, tenants)
    await meter.start()
    ends_at = time.perf_counter() + seconds
    async with anyio.create_task_group() as group:
        for number in range(drivers):
            group.start_soon(drive, tenants[number::drivers])
    figures = await meter.stop(runs=done, steps=done * STEPS[workflow])
    return {
        "workflow": workflow,
        "tenants": len(tenants),
        "in_flight": lot * drivers,
        "runs": done,
        **figures,
    }


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run everything and return the document."""
    most = max(options.tenants)
    with tempfile.TemporaryDirectory(prefix="insula-bench-") as directory:
        state = Path(directory)
        await anyio.Path(state).chmod(0o711)
        settings = (
            f"node.max_awake_tenants = {most}",
            f"workflows.modules = {json.dumps(MODULES)}",
        )
        async with in_process(state, settings) as parts:
            tenants = names(most)
            for tenant in tenants:
                await parts.tenants.register(CreateTenant(id=tenant))
            await run_in_lots(parts, tenants[0], [StartRun(workflow="one_step")], 1)
            weights = _told(await memory(parts, tenants[0], waiting=options.waiting))
            times = _told(await latency(parts, tenants[0], options.latencies))
            results = [
                _told(
                    await throughput(
                        parts, tenants[:count], workflow, flight, (options.runs, options.seconds)
                    )
                )
                for count, workflow, flight in itertools.product(
                    options.tenants, STEPS, options.flight
                )
            ]
            version = parts.server_version
    return {
        "benchmark": "engine",
        "python": platform.python_version(),
        "postgresql": version,
        "fsync": True,
        "memory": weights,
        "latency": times,
        "throughput": results,
    }


def _told(figures: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(figures), file=sys.stderr)
    return figures


def main() -> None:
    """Parse the options, measure, and print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenants", type=int, nargs="+", default=[1, 100])
    parser.add_argument("--flight", type=int, nargs="+", default=[1, 50, 1000])
    parser.add_argument("--runs", type=int, default=10_000, help="the most runs of a case")
    parser.add_argument("--seconds", type=float, default=5.0, help="the most seconds of a case")
    parser.add_argument("--latencies", type=int, default=500, help="runs that are timed one by one")
    parser.add_argument("--waiting", type=int, default=5_000, help="waiting runs that are weighed")
    options = parser.parse_args()
    set_up("error", "console")
    document = anyio.run(measure, options, backend_options={"use_uvloop": True})
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
