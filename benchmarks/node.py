"""A node for measuring: the daemon's own parts in this process, only HTTP is left out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from orchestrator.daemon.garbage import search_seldom
from orchestrator.daemon.sd_notify import Notifier
from orchestrator.daemon.wiring import Parts, build
from orchestrator.engine.engine import Engine
from orchestrator.model.api import StartRun
from orchestrator.model.clock import SystemClock
from orchestrator.model.ids import TenantId
from orchestrator.settings.load import load
from orchestrator.store.connect import Connection
from orchestrator.workflow import registry

IN_FLIGHT = 1000
"""Tasks that the node may have under way."""


def names(count: int) -> list[TenantId]:
    """Return the ids of the first `count` tenants."""
    return [TenantId(f"bench_{number}") for number in range(count)]


@asynccontextmanager
async def in_process(home: Path, settings: Iterable[str]) -> AsyncIterator[Parts]:
    """Run the daemon's parts while the body does; `settings` are lines of its `insula.toml`."""
    path = home / "insula.toml"
    lines = [
        f'node.state_dir = "{home}"',
        f"node.max_concurrent_tasks = {IN_FLIGHT}",
        *settings,
    ]
    await anyio.Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    snapshot = load(path, {})
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


def engine_of(parts: Parts, tenant: TenantId) -> Engine:
    """Return the engine of a tenant that is awake; raises LookupError when it sleeps."""
    engine = parts.root.slot(tenant).engine
    if engine is None:
        raise LookupError(f"tenant {tenant} sleeps")
    return engine


async def run_in_lots(parts: Parts, tenant: TenantId, runs: Sequence[StartRun], lot: int) -> None:
    """Submit `runs`, `lot` at a time, and wait for the end of each lot before the next."""
    for first in range(0, len(runs), lot):
        await parts.root.submit(tenant, list(runs[first : first + lot]))
        await settled(parts, tenant)


async def settled(parts: Parts, tenant: TenantId) -> None:
    """Return when the tenant has nothing to do."""
    engine = parts.root.slot(tenant).engine
    while engine is not None and engine.busy:
        await engine.changed.wait()


async def committed(connection: Connection) -> int:
    """Return the server's count of committed transactions of this database."""
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    count: int = await connection.fetchval(
        "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    )
    return count
