"""The meters of `benchmarks.engine`: counts, times and weights of one node in this process."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Sequence
from typing import Any

import anyio

from benchmarks import engine_workloads
from benchmarks.node import committed, engine_of, run_in_lots, settled
from benchmarks.processes import memory_bytes
from benchmarks.protocol import percentiles
from orchestrator.daemon.wiring import Parts
from orchestrator.engine.engine import Engine
from orchestrator.model.api import StartRun
from orchestrator.model.ids import TenantId

RESIDENT = 1_000
LOT = 1_000
REPORTED_SECONDS = 1.1
"""A backend tells its counts once a second."""


class Meter:
    """Counts what happens between `start` and `stop`, over some tenants, all of them awake."""

    def __init__(self, parts: Parts, tenants: Sequence[TenantId]) -> None:
        self._parts = parts
        self._engines = [engine_of(parts, tenant) for tenant in tenants]
        self._statements = 0

    async def start(self) -> None:
        """Begin to count."""
        for engine in self._engines:
            _connection(engine).add_query_logger(self._count)
        self._commits = await commits(self._parts)
        self._flushes, self._rows = self._written()
        self._cpu, self._began = time.process_time(), time.perf_counter()

    async def stop(self, *, runs: int, steps: int) -> dict[str, Any]:
        """Return the rates, and the costs of a run and a step."""
        seconds, cpu = time.perf_counter() - self._began, time.process_time() - self._cpu
        for engine in self._engines:
            _connection(engine).remove_query_logger(self._count)
        flushes, rows = self._written()
        committed = await commits(self._parts) - self._commits
        return {
            "runs_per_second": round(runs / seconds),
            "steps_per_second": round(steps / seconds),
            "flushes_per_step": round((flushes - self._flushes) / steps, 4),
            "rows_per_step": round((rows - self._rows) / steps, 3),
            "commits_per_step": round(committed / steps, 4),
            "statements_per_run": round(self._statements / runs, 4),
            "client_cpu_us_per_step": round(cpu / steps * 1e6, 1),
        }

    def _written(self) -> tuple[int, int]:
        flushes = sum(engine.flushes for engine in self._engines)
        return flushes, sum(engine.rows for engine in self._engines)

    def _count(self, record: object) -> None:  # noqa: ARG002 - one statement is like the other
        self._statements += 1


async def latency(parts: Parts, tenant: TenantId, count: int) -> dict[str, Any]:
    """Time runs one after the other on an idle tenant, in milliseconds."""
    engine_workloads.starts.clear()
    engine_workloads.handovers.clear()
    whole, asked = [], []
    for _ in range(count):
        asked.append(time.perf_counter())
        await _run(parts, tenant, "noted", 1)
        whole.append(time.perf_counter() - asked[-1])
    for _ in range(count):
        await _run(parts, tenant, "relay", 1)
    started = [begun - then for begun, then in zip(engine_workloads.starts, asked, strict=True)]
    return {
        "submit_to_start": percentiles(started),
        "end_to_dependent": percentiles(engine_workloads.handovers),
        "submit_to_end": percentiles(whole),
    }


async def memory(parts: Parts, tenant: TenantId, *, waiting: int) -> dict[str, Any]:
    """Weigh runs that are in memory, with an attempt under way, and runs that wait outside."""
    engine = engine_of(parts, tenant)
    gate = anyio.Event()
    engine_workloads.gate[:] = [gate]
    await _run(parts, tenant, "patient", LOT)  # what the first ones need is no run's own
    tracemalloc.start()
    before, rss = _traced(), memory_bytes()
    await parts.root.submit(tenant, [StartRun(workflow="gated")] * RESIDENT)
    while engine.running_tasks < RESIDENT:
        await engine.changed.wait()
    resident = (_traced() - before) / RESIDENT
    gate.set()
    await settled(parts, tenant)
    tracemalloc.stop()
    resident_rss = memory_bytes() - rss
    gc.collect()
    rss = memory_bytes()
    for _ in range(waiting // LOT):
        await _run(parts, tenant, "patient", LOT)
    gc.collect()
    grown = memory_bytes() - rss
    return {
        "resident_run_bytes": round(resident),
        "resident_rss_mb": round(resident_rss / 1e6, 1),
        "waiting_runs": waiting,
        "waiting_rss_mb": round(grown / 1e6, 1),
        "rss_mb": round(memory_bytes() / 1e6, 1),
    }


async def commits(parts: Parts) -> int:
    """Return the server's count of committed transactions in our database, once all is in it."""
    await anyio.sleep(REPORTED_SECONDS)
    async with parts.shards.control.acquire() as connection:
        return await committed(connection)


async def _run(parts: Parts, tenant: TenantId, workflow: str, count: int) -> None:
    await run_in_lots(parts, tenant, [StartRun(workflow=workflow)] * count, count)


def _connection(engine: Engine) -> Any:
    return engine._owned._connection  # noqa: SLF001 - nobody else asks


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
