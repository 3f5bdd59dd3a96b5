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
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from benchmarks.engine_cost import Meter, latency, memory
from orchestrator.daemon.garbage import search_seldom
from orchestrator.daemon.sd_notify import Notifier
from orchestrator.daemon.wiring import Parts, build
from orchestrator.model.api import CreateTenant, StartRun
from orchestrator.model.clock import SystemClock
from orchestrator.model.ids import TenantId
from orchestrator.observability.logging import set_up
from orchestrator.settings.load import load
from orchestrator.workflow import registry

STEPS = {"one_step": 1, "chain_of_five": 5}
MODULES = ["benchmarks.workloads", "benchmarks.engine_workloads"]


@asynccontextmanager
async def node(state: Path, *, awake: int) -> AsyncIterator[Parts]:
    """Run the daemon's parts on an embedded server below `state`."""
    (state / "insula.toml").write_text(
        f'[node]\nmax_awake_tenants = {awake}\nmax_concurrent_tasks = 1000\nstate_dir = "{state}"\n'
        f"[workflows]\nmodules = {json.dumps(MODULES)}\n",
        encoding="utf-8",
    )
    snapshot = load(state / "insula.toml", {})
    served = registry.load(snapshot.settings.workflows.modules)
    async with (
        build(snapshot, served, SystemClock(), Notifier()) as parts,
        anyio.create_task_group() as group,
    ):
        await group.start(parts.root.run)
        search_seldom()
        yield parts
        await parts.root.drain()
        group.cancel_scope.cancel()


async def run_all(parts: Parts, tenant: TenantId, workflow: str, count: int, flight: int) -> None:
    """Submit `count` runs, `flight` at a time, and wait for the end of each lot."""
    left = count
    while left:
        lot = min(flight, left)
        await parts.root.submit(tenant, [StartRun(workflow=workflow)] * lot)
        engine = parts.root.slot(tenant).engine
        while engine is not None and engine.busy:
            await engine.changed.wait()
        left -= lot


async def throughput(
    parts: Parts, tenants: Sequence[TenantId], workflow: str, flight: int, most: tuple[int, float]
) -> dict[str, Any]:
    """Measure at `most` so many runs, or seconds, with `flight` of them under way at a time.

    Fewer runs than tenants under way go round: each driver has a share of the tenants.
    """
    drivers = min(flight, len(tenants))
    lot, (runs, seconds) = flight // drivers, most
    for tenant in tenants:
        await run_all(parts, tenant, workflow, 1, 1)
    left = runs // lot
    done = 0

    async def drive(share: Sequence[TenantId]) -> None:
        nonlocal left, done
        for tenant in itertools.cycle(share):
            if left <= 0 or time.perf_counter() > ends_at:
                return
            left -= 1
            await run_all(parts, tenant, workflow, lot, lot)
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
        async with node(state, awake=most) as parts:
            for number in range(most):
                await parts.tenants.register(CreateTenant(id=f"bench_{number}"))
            names = [TenantId(f"bench_{number}") for number in range(most)]
            await run_all(parts, names[0], "one_step", 1, 1)
            weights = _told(await memory(parts, names[0], waiting=options.waiting))
            times = _told(await latency(parts, names[0], options.latencies))
            results = [
                _told(
                    await throughput(
                        parts, names[:tenants], workflow, flight, (options.runs, options.seconds)
                    )
                )
                for tenants, workflow, flight in itertools.product(
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
        "latency_ms": times,
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
