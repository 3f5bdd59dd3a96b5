"""Runs and steps a second: one tenant (A, B), many (D), payloads (I), long histories (G)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import anyio
import asyncpg

from benchmarks.cases.node import ONE, Ledger, declare, flushes, node, run_at_once, wake
from benchmarks.node import IN_FLIGHT, names, run_in_lots, settled
from benchmarks.protocol import Figures, Order, rate
from orchestrator.daemon.wiring import Parts
from orchestrator.model.api import StartRun
from orchestrator.model.ids import TenantId, schema_of
from orchestrator.store.connect import Connection

STEPS = 5
WARM_UP = 200

HISTORY = """
    INSERT INTO {schema}.wf_run (id, workflow, version, state, queue, priority, epoch, input,
                                 output, created_at, started_at, finished_at)
    SELECT ('0190' || substr(md5(n::text), 5))::uuid, 'one_step', '1', 'succeeded', 'default',
           0, 1, '{{}}', '1', past.at, past.at, past.at
    FROM generate_series(1, $1::int) AS n, (SELECT now() - interval '1 day' AS at) AS past
"""
EVENTS = """
    INSERT INTO {schema}.wf_event (run_id, seq, epoch, node, entries)
    SELECT id, 0, 1, 'bench', '[]' FROM {schema}.wf_run
    WHERE finished_at < now() - interval '1 hour'
"""
"""A finished past, written by the server itself."""


async def one_tenant(order: Order) -> None:
    """Make the one tenant."""
    await declare(order, [ONE])


async def many_tenants(order: Order) -> None:
    """Make as many tenants as the case has."""
    await declare(order, names(order.size))


async def with_history(order: Order) -> None:
    """Make a tenant whose tables hold as many finished runs as the case has."""
    await declare(order, [ONE])
    connection: Connection = await asyncpg.connect(order.url)
    schema = schema_of(ONE)
    await connection.execute(HISTORY.format(schema=schema), order.size, timeout=300)
    await connection.execute(EVENTS.format(schema=schema), timeout=300)
    await connection.execute(f"VACUUM ANALYZE {schema}.wf_run, {schema}.wf_event", timeout=300)
    await connection.close()


async def one_step_runs(order: Order) -> Figures:
    """Submit while nothing may start, then run what waits, then both together (A)."""
    runs = [StartRun(workflow="one_step")] * order.count
    async with node(order) as parts, Ledger.open(order, [ONE]) as ledger:
        await run_at_once(parts, ONE, [StartRun(workflow="one_step")] * WARM_UP)
        await parts.root.set_pause(ONE, "", paused=True)
        began = time.perf_counter()
        await run_at_once(parts, ONE, runs)
        submit = rate(order.count, began)
        began = time.perf_counter()
        await parts.root.set_pause(ONE, "", paused=False)
        await settled(parts, ONE)
        drain = rate(order.count, began)
        await ledger.expect(WARM_UP + order.count)
        before, began = flushes(parts, [ONE]), time.perf_counter()
        await run_at_once(parts, ONE, runs)
        both = rate(order.count, began)
        await ledger.expect(WARM_UP + 2 * order.count)
        return {
            "submit_runs_per_s": submit,
            "run_runs_per_s": drain,
            "runs_per_s": both,
            "flushes_per_run": (flushes(parts, [ONE]) - before) / order.count,
            "measured_runs": 2.0 * order.count,
        }


async def chains(order: Order) -> Figures:
    """Run chains of five tasks, by how many runs are submitted together, and of five steps (B).

    The figure without a number is 1,000 in flight.
    """
    figures: Figures = {"measured_steps": 0.0}
    async with node(order) as parts, Ledger.open(order, [ONE]) as ledger:
        await run_at_once(parts, ONE, [StartRun(workflow="chain_of_five")] * WARM_UP)
        done = WARM_UP
        cases = (
            ("chain_of_five", IN_FLIGHT, "steps_per_s", 1),
            ("chain_of_five", 50, "steps_per_s_50_in_flight", 2),
            ("chain_of_five", 1, "steps_per_s_1_in_flight", 50),
            ("five_steps", IN_FLIGHT, "calls_per_s", 1),
        )
        for workflow, flight, name, fewer in cases:
            count = max(20, order.count // fewer)
            before, began = flushes(parts, [ONE]), time.perf_counter()
            await run_in_lots(parts, ONE, [StartRun(workflow=workflow)] * count, flight)
            figures[name] = rate(count * STEPS, began)
            if name == "steps_per_s":
                written = flushes(parts, [ONE]) - before
                figures["flushes_per_step"] = written / (count * STEPS)
            figures["measured_steps"] += count * STEPS
            done += count
        await ledger.expect(done)
    return figures


async def spread(order: Order) -> Figures:
    """Spread A evenly over the tenants (D): all is submitted at once; then 1,000 in flight."""
    tenants = names(order.size)
    each = max(2, order.count // order.size)
    lot = max(1, IN_FLIGHT // order.size)
    async with node(order) as parts, Ledger.open(order, tenants) as ledger:
        await wake(parts, tenants)
        before, began = flushes(parts, tenants), time.perf_counter()
        await _all(parts, tenants, each, each)
        total = each * order.size
        figures = {
            "runs_per_s": rate(total, began),
            "flushes_per_run": (flushes(parts, tenants) - before) / total,
        }
        fewer = max(1, each // 4)
        began = time.perf_counter()
        await _all(parts, tenants, fewer, lot)
        figures["runs_per_s_1000_in_flight"] = rate(fewer * order.size, began)
        figures["measured_runs"] = float(total + fewer * order.size)
        await ledger.expect(total + (fewer + 1) * order.size)
    return figures


async def growth(order: Order) -> Figures:
    """Do the work of A with a past in the tables (G)."""
    figures = await one_step_runs(order)
    return {name: figures[name] for name in ("runs_per_s", "run_runs_per_s", "measured_runs")}


async def payloads(order: Order) -> Figures:
    """Run what returns its input, a text of `size` bytes (I)."""
    run = StartRun(workflow="echo", input={"text": "x" * order.size})
    lot = max(1, min(IN_FLIGHT, 4_000_000 // order.size))
    async with node(order) as parts, Ledger.open(order, [ONE]) as ledger:
        await run_in_lots(parts, ONE, [run] * lot, lot)
        began = time.perf_counter()
        await run_in_lots(parts, ONE, [run] * order.count, lot)
        runs = rate(order.count, began)
        await ledger.expect(order.count + lot)
    return {
        "runs_per_s": runs,
        "megabytes_per_s": runs * 2 * order.size / 1e6,
        "measured_runs": float(order.count + lot),
    }


async def _all(parts: Parts, tenants: Sequence[TenantId], each: int, lot: int) -> None:
    async with anyio.create_task_group() as group:
        for tenant in tenants:
            runs = [StartRun(workflow="one_step")] * each
            group.start_soon(run_in_lots, parts, tenant, runs, lot)
