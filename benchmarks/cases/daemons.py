"""`insula serve` as a process of its own: what it costs idle (F), how it gets over a kill (E)."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from benchmarks.cases.node import ONE, Ledger
from benchmarks.node import IN_FLIGHT, names
from benchmarks.protocol import Figures, Order, until
from benchmarks.served import Served
from orchestrator.model.api import StartRun
from orchestrator.store.connect import Target

SETTLE_SECONDS = 2
"""What a daemon does once, at its start, is no part of idling."""


@asynccontextmanager
async def daemon(order: Order, *, tenants: int) -> AsyncIterator[Served]:
    """Yield a daemon that is not started yet; it is killed at the end."""
    made = Served(order.home, order.url)
    prefix = Target.parse(order.url).database  # roles belong to the whole server
    made.configure(
        names(tenants),
        settings=[
            f'database.role_prefix = "{prefix}"',
            f"node.max_concurrent_tasks = {IN_FLIGHT}",
        ],
    )
    try:
        yield made
    finally:
        if made.process.returncode is None:
            with anyio.CancelScope(shield=True):
                await made.end(signal.SIGKILL)


async def no_set_up(order: Order) -> None:
    """Leave it to the daemon: what it finds is an empty database."""


async def recovery(order: Order) -> Figures:
    """Kill a daemon with `count` runs in flight; restart until each has been started again (E)."""
    async with (
        daemon(order, tenants=1) as made,
        made.client() as client,
        Ledger.open(order, [ONE]) as ledger,
    ):
        await made.start()
        await client.tenant(ONE).start_many([StartRun(workflow="resumed")] * order.count)

        async def all_run() -> bool:
            return (await client.status()).running_tasks == order.count

        await until(all_run, seconds=30)
        outputs = await ledger.outputs(ONE, "resumed")
        running = [run for run, output in outputs.items() if output is None]
        await made.end(signal.SIGKILL)
        killed = time.monotonic()
        await made.start()
        ready = time.monotonic()

        async def all_done() -> bool:
            outputs = await ledger.outputs(ONE, "resumed")
            return all(outputs[run] is not None for run in running)

        await until(all_done, seconds=30, look=0.05)
        done = time.monotonic()
        outputs = await ledger.outputs(ONE, "resumed")
        await ledger.expect(order.count)
    resumed = [float(outputs[run]) for run in running]
    return {
        "kill_to_ready_s": ready - killed,
        "kill_to_last_resumed_s": max(resumed) - killed,
        "first_to_last_resumed_s": max(resumed) - min(resumed),
        "kill_to_all_done_s": done - killed,
    }


async def idle(order: Order) -> Figures:
    """Let a daemon idle for `count` seconds with `size` declared tenants, all asleep (F)."""
    async with daemon(order, tenants=order.size) as made, Ledger.open(order, []) as ledger:
        ready = await made.start()
        await anyio.sleep(SETTLE_SECONDS)
        before, transactions = made.cpu_seconds(), await ledger.transactions()
        began = time.monotonic()
        await anyio.sleep(order.count)
        taken = time.monotonic() - began
        return {
            "start_s": ready,
            "daemon_cpu_percent": 100 * (made.cpu_seconds() - before) / taken,
            "daemon_memory_mb": made.memory_mb(),
            "connections": float(await ledger.connections()),
            "transactions_per_s": (await ledger.transactions() - transactions) / taken,
        }
