"""Steps and runs per second, commits per step, and latency, on a durable embedded server.

    python -m benchmarks.engine --tenants 1 100 --runs 10000

The daemon's own parts run in this process; only HTTP is left out. `flight` is how many runs are
submitted together and awaited before the next ones.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from orchestrator.daemon.sd_notify import Notifier
from orchestrator.daemon.wiring import Parts, build
from orchestrator.model.api import CreateTenant, StartRun
from orchestrator.model.clock import SystemClock
from orchestrator.model.ids import TenantId
from orchestrator.observability.logging import set_up
from orchestrator.settings.load import load
from orchestrator.workflow import registry

STEPS = {"one_step": 1, "chain_of_five": 5}


@asynccontextmanager
async def node(state: Path, *, awake: int) -> AsyncIterator[Parts]:
    """Run the daemon's parts on an embedded server below `state`."""
    (state / "insula.toml").write_text(
        f'[node]\nmax_awake_tenants = {awake}\nmax_concurrent_tasks = 1000\nstate_dir = "{state}"\n'
        '[workflows]\nmodules = ["benchmarks.workloads"]\n',
        encoding="utf-8",
    )
    snapshot = load(state / "insula.toml", {})
    served = registry.load(snapshot.settings.workflows.modules)
    async with (
        build(snapshot, served, SystemClock(), Notifier()) as parts,
        anyio.create_task_group() as group,
    ):
        await group.start(parts.root.run)
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
    parts: Parts, tenants: Sequence[TenantId], workflow: str, runs: int, flight: int
) -> dict[str, Any]:
    """Measure `runs` runs spread over `tenants`, with `flight` runs in flight over all of them."""
    each, lot = max(1, runs // len(tenants)), max(1, flight // len(tenants))
    for tenant in tenants:
        await run_all(parts, tenant, workflow, 1, 1)
    before = await commits(parts)
    cpu, began = time.process_time(), time.perf_counter()
    async with anyio.create_task_group() as group:
        for tenant in tenants:
            group.start_soon(run_all, parts, tenant, workflow, each, lot)
    seconds = time.perf_counter() - began
    total = each * len(tenants)
    steps = total * STEPS[workflow]
    return {
        "workflow": workflow,
        "tenants": len(tenants),
        "in_flight": lot * len(tenants),
        "runs": total,
        "runs_per_second": round(total / seconds),
        "steps_per_second": round(steps / seconds),
        "commits_per_step": round((await commits(parts) - before) / steps, 4),
        "client_cpu_us_per_step": round((time.process_time() - cpu) / steps * 1e6, 1),
    }


async def latency(parts: Parts, tenant: TenantId, count: int) -> dict[str, Any]:
    """Measure the way of one run after the other, from the submit to its end, in milliseconds."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        await run_all(parts, tenant, "one_step", 1, 1)
        taken.append((time.perf_counter() - began) * 1000)
    cuts = statistics.quantiles(taken, n=100)
    return {"submit_to_end_ms": {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}}


async def commits(parts: Parts) -> int:
    """Return the server's count of committed transactions in our database."""
    async with parts.control.acquire() as connection:
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        count: int = await connection.fetchval(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        )
    return count


async def _case(
    parts: Parts, tenants: Sequence[TenantId], workflow: str, runs: int, flight: int
) -> dict[str, Any]:
    """Measure one case and say so; a single run in flight is slow, so there are fewer of them."""
    count = runs if flight > 1 else max(50, runs // 20)
    figure = await throughput(parts, tenants, workflow, count, flight)
    print(json.dumps(figure), file=sys.stderr)
    return figure


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
            cases = itertools.product(options.tenants, STEPS, options.flight)
            results = [
                await _case(parts, names[:tenants], workflow, options.runs, flight)
                for tenants, workflow, flight in cases
            ]
            single = await latency(parts, names[0], 500)
            version = parts.server_version
    return {
        "benchmark": "engine",
        "python": platform.python_version(),
        "postgresql": version,
        "fsync": True,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "throughput": results,
        "latency": single,
    }


def main() -> None:
    """Parse the options, measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--flight", type=int, nargs="+", default=[1, 50, 1000])
    parser.add_argument("--runs", type=int, default=5000)
    options = parser.parse_args()
    set_up("error", "console")
    document = anyio.run(measure, options, backend_options={"use_uvloop": True})
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
