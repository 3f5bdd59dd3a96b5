"""A node on the harness's server, and what its tables say."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import asyncpg

from benchmarks.node import committed, in_process, names, run_in_lots, settled
from benchmarks.protocol import Order, WrongResult
from orchestrator.daemon.wiring import Parts
from orchestrator.model.api import CreateTenant, StartRun
from orchestrator.model.ids import TenantId, run_id_at, schema_of
from orchestrator.observability.logging import set_up
from orchestrator.store.connect import Connection, Target

MODULE = "benchmarks.workloads"
LOT = 1000
"""Runs in one request."""

WAKING = 16
(ONE,) = names(1)


@asynccontextmanager
async def node(order: Order) -> AsyncIterator[Parts]:
    """Run a node while the body does.

    Roles belong to the whole server, so their prefix is that of the case's database.
    """
    set_up("error", "console")
    awake = order.size if order.work == "D" else 1
    settings = (
        f"node.max_awake_tenants = {max(100, awake)}",
        f'database.url = "{order.url}"',
        f'database.role_prefix = "{Target.parse(order.url).database}"',
        'supervision.idle_ttl = "1h"',
        f'workflows.modules = ["{MODULE}"]',
    )
    async with in_process(order.home, settings) as parts:
        yield parts


async def declare(order: Order, tenants: Sequence[TenantId]) -> None:
    """Register tenants and wake each once, so that their schemas are there."""
    async with node(order) as parts:
        for tenant in tenants:
            await parts.tenants.register(CreateTenant(id=tenant))
        await wake(parts, tenants)


async def wake(parts: Parts, tenants: Sequence[TenantId]) -> None:
    """Have every tenant do one run; a few at a time, or the last would wait for too long."""
    places = anyio.CapacityLimiter(WAKING)

    async def one(tenant: TenantId) -> None:
        async with places:
            await run_in_lots(parts, tenant, [StartRun(workflow="one_step")], 1)

    async with anyio.create_task_group() as group:
        for tenant in tenants:
            group.start_soon(one, tenant)


async def run_at_once(parts: Parts, tenant: TenantId, runs: Sequence[StartRun]) -> None:
    """Submit `runs` one request after the other and wait for the end of them all."""
    for first in range(0, len(runs), LOT):
        await parts.root.submit(tenant, list(runs[first : first + LOT]))
    await settled(parts, tenant)


def flushes(parts: Parts, tenants: Sequence[TenantId]) -> int:
    """Return how many statements the group commits of these tenants have sent."""
    engines = [parts.root.slot(tenant).engine for tenant in tenants]
    return sum(engine.flushes for engine in engines if engine is not None)


class Ledger:
    """What the tables say: a time counts only when all that was submitted has succeeded.

    Ids of runs sort by time, so what was there before is not read: counting a long past would be
    counted as the server's work.
    """

    def __init__(self, connection: Connection, tenants: Sequence[TenantId]) -> None:
        self._connection = connection
        self._tenants = tenants
        self._since = run_id_at(time.time())

    @classmethod
    @asynccontextmanager
    async def open(cls, order: Order, tenants: Sequence[TenantId]) -> AsyncIterator[Ledger]:
        """Look at the tables as superuser, over a connection of its own."""
        connection: Connection = await asyncpg.connect(order.url)
        try:
            yield cls(connection, tenants)
        finally:
            await connection.close()

    async def _succeeded(self) -> int:
        """Return how many runs have been submitted since this was opened, and have succeeded."""
        counts = " UNION ALL ".join(
            f"SELECT count(*) FROM {schema_of(tenant)}.wf_run"  # noqa: S608
            " WHERE id >= $1 AND state = 'succeeded'"
            for tenant in self._tenants
        )
        total: int = await self._connection.fetchval(
            f"SELECT sum(count)::int FROM ({counts}) AS c",  # noqa: S608
            self._since,
        )
        return total

    async def transactions(self) -> int:
        """Return the server's count of committed transactions of this database."""
        return await committed(self._connection)

    async def connections(self) -> int:
        """Return how many connections others have to this database."""
        count: int = await self._connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return count

    async def expect(self, more: int) -> None:
        """Raise WrongResult unless exactly `more` runs have succeeded since this was opened."""
        found = await self._succeeded()
        if found != more:
            raise WrongResult(f"{found} of {more} runs have succeeded")

    async def outputs(self, tenant: TenantId, workflow: str) -> dict[str, Any]:
        """Return the outputs of a workflow's runs as JSON texts, by run."""
        rows = await self._connection.fetch(
            f"SELECT id::text, output::text FROM {schema_of(tenant)}.wf_run WHERE workflow = $1",  # noqa: S608
            workflow,
        )
        return {row[0]: row[1] for row in rows}
