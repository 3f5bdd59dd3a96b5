"""`insula serve` as a process of its own: what it costs idle (F), how it gets over a kill (E)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from benchmarks.cases.node import IN_FLIGHT, ONE, Ledger, configuration, names
from benchmarks.processes import cpu_seconds, memory_mb
from benchmarks.protocol import Figures, Order, WrongResult, until
from examples.flights.process import Daemon
from orchestrator import Client
from orchestrator.model.api import StartRun
from orchestrator.model.errors import Unavailable

BOOT_SECONDS = 60.0


@asynccontextmanager
async def daemon(order: Order, *, tenants: int) -> AsyncIterator[tuple[Daemon, Client]]:
    """Yield a daemon that is not started yet, and a client of it; it is stopped at the end."""
    declared = [f"[tenants.{name}]" for name in names(tenants)]
    path = order.home / "insula.toml"
    await anyio.Path(path).write_text(configuration(order, declared), encoding="utf-8")
    made = Daemon(path, order.home)
    try:
        async with Client(made.url, retries=0) as client:
            yield made, client
    except WrongResult as error:
        raise WrongResult(f"{error}\n{made.log_tail()}") from error
    finally:
        made.stop()


async def boot(made: Daemon, client: Client) -> int:
    """Start the daemon and return its process id once it answers."""
    made.start()

    async def ready() -> bool:
        if not made.alive:
            raise WrongResult("the daemon ended instead of serving")
        try:
            await client.status()
        except Unavailable:
            return False
        return True

    await until(ready, seconds=BOOT_SECONDS)
    return (await client.status()).pid


async def no_set_up(order: Order) -> None:
    """Leave it to the daemon: what it finds is an empty database."""


async def recovery(order: Order) -> Figures:
    """Kill a daemon with `count` runs in flight; restart until each has been started again (E)."""
    async with daemon(order, tenants=1) as (made, client):
        await boot(made, client)
        tenant = client.tenant(ONE)
        for _ in range(order.count // IN_FLIGHT or 1):
            lot = min(order.count, IN_FLIGHT)
            await tenant.start_many([StartRun(workflow="resumed")] * lot)

        async def all_run() -> bool:
            return (await client.status()).running_tasks == order.count

        await until(all_run, seconds=60)
        async with Ledger.open(order, [ONE]) as ledger:
            before = await ledger.outputs(ONE, "resumed")
            running = [run for run, output in before.items() if output is None]
            made.kill()
            killed = time.monotonic()
            await boot(made, client)
            ready = time.monotonic()

            async def all_done() -> bool:
                outputs = await ledger.outputs(ONE, "resumed")
                return all(outputs[run] is not None for run in running)

            await until(all_done, seconds=60, look=0.05)
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
    async with daemon(order, tenants=order.size) as (made, client):
        began = time.monotonic()
        pid = await boot(made, client)
        ready = time.monotonic() - began
        await anyio.sleep(2)  # what it does once, at its start, is no part of idling
        before, began = cpu_seconds(pid), time.monotonic()
        async with Ledger.open(order, []) as ledger:
            statements = await ledger.transactions()
            await anyio.sleep(order.count)
            taken = time.monotonic() - began
            used = cpu_seconds(pid) - before
            return {
                "start_s": ready,
                "daemon_cpu_percent": 100 * used / taken,
                "daemon_memory_mb": memory_mb(pid),
                "connections": float(await ledger.connections()),
                "transactions_per_s": (await ledger.transactions() - statements) / taken,
            }
