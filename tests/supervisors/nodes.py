"""A node in this process: the parts that the daemon wires together, over a test's own database."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.abc

from orchestrator.daemon.audit import TenantAudit
from orchestrator.daemon.holds import Holds
from orchestrator.daemon.shards import ShardKeeper
from orchestrator.daemon.tenants import Tenants
from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.slots import NodeSlots
from orchestrator.model.api import Started, StartRun
from orchestrator.model.clock import SystemClock
from orchestrator.model.ids import TenantId
from orchestrator.settings.duration import Duration
from orchestrator.settings.load import Snapshot
from orchestrator.settings.model import Settings, SupervisionSection, Tenant, Tier
from orchestrator.settings.shards import ShardConfig
from orchestrator.settings.tenants import tenant_config
from orchestrator.store.connect import ControlPool
from orchestrator.store.control import nodes
from orchestrator.store.control.keys import Keyring
from orchestrator.store.shards import Shards
from orchestrator.store.tenant.places import Places
from orchestrator.workflow.registry import Registry
from supervisors.ground import Ground
from supervisors.root import RootSupervisor
from supervisors.slot import Slot, SlotState
from supervisors.standing import Standing
from tests.supervisors import workflows
from tests.support.database import Database
from tests.support.wait import until

LONG = timedelta(days=1)
SHORT_DRAIN = SupervisionSection(drain_timeout=Duration(milliseconds=100))
"""A tenant that has to come to rest does not wait for tasks that wait for the test."""


@dataclass(frozen=True)
class Node:
    """A root that runs, and what a test asks it."""

    id: UUID
    name: str
    database: Database
    control: ControlPool
    tenants: Tenants
    root: RootSupervisor
    slots: NodeSlots
    group: anyio.abc.TaskGroup
    ground: Ground

    @cached_property
    def audit(self) -> TenantAudit:
        """The audit, as the daemon wires it."""
        return TenantAudit(self.control, self.name, self.ground.standing)

    @cached_property
    def holds(self) -> Holds:
        """The holds of this node, as the daemon wires them."""
        return Holds(self.root, self.control, self.tenants, self.audit, self.id, patience=10.0)

    def slot(self, tenant: str) -> Slot:
        """Return the tenant's slot."""
        return self.root.slot(TenantId(tenant))

    async def submit(
        self, tenant: str, workflow: str = "note", key: str | None = None, **given: Any
    ) -> Started:
        """Start one run."""
        run = StartRun(workflow=workflow, input=given, key=key)
        (started,) = await self.root.submit(TenantId(tenant), [run])
        return started

    async def hold(self, tenant: str, gate: str) -> Started:
        """Start a run, and return when its task waits at a gate of the test's own name."""
        started = await self.submit(tenant, "wait", gate=gate)
        await until(lambda: workflows.GATES.arrived[gate] == 1, what=f"the task is at {gate!r}")
        return started

    async def reach(self, tenant: str, *states: SlotState, within: float = 10.0) -> None:
        """Return when the tenant's slot is in one of `states`."""
        slot = self.slot(tenant)
        await until(
            lambda: slot.state in states, within=within, what=f"{tenant} is {states}: {slot.state}"
        )

    async def declare(self, *tenants: str, **changes: Any) -> None:
        """Publish these tenants as what the files declare, each with `changes`."""
        await self.tenants.publish(snapshot(tenants, **changes))

    async def sql(self, query: str, *args: object) -> Any:
        """Return the first value of a statement under the admin login."""
        async with self.control.acquire() as connection:
            return await connection.fetchval(query, *args)

    async def expire(self) -> None:
        """Let the node's row be as if it had not been renewed in time: dead, to the others."""
        await self.sql("UPDATE insula.node SET expires_at = now() WHERE id = $1", self.id)

    async def finished(self, tenant: str) -> int:
        """Return how many of the tenant's runs have succeeded."""
        count: int = await self.sql(
            f"SELECT count(*) FROM tenant_{tenant}.wf_run WHERE state = 'succeeded'"
        )
        return count

    async def until_finished(self, tenant: str, count: int) -> None:
        """Return when so many of the tenant's runs have succeeded."""
        await until(lambda: self._are_finished(tenant, count), what=f"{count} runs of {tenant}")

    async def _are_finished(self, tenant: str, count: int) -> bool:
        return await self.finished(tenant) == count

    async def connections(self, tenant: str) -> int:
        """Return how many connections the tenant's logins have."""
        logins = self.database.logins(tenant)
        count: int = await self.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = ANY($1::text[])",
            [logins.engine, logins.app],
        )
        return count


def snapshot(
    tenants: Iterable[str],
    *,
    supervision: SupervisionSection | None = None,
    declarations: Mapping[str, Tenant] | None = None,
    tiers: Mapping[str, Tier] | None = None,
    shards: Iterable[ShardConfig] = (),
    **common: Any,
) -> Snapshot:
    """Return a configuration that declares `tenants`; `common` are fields of each of them."""
    declared = {tenant: Tenant(**common) for tenant in tenants} | dict(declarations or {})
    settings = Settings(
        tenants=declared, tiers=dict(tiers or {}), supervision=supervision or SupervisionSection()
    )
    configs = {
        TenantId(name): tenant_config(TenantId(name), each, settings.tiers, settings.supervision)
        for name, each in declared.items()
    }
    return Snapshot(
        settings=settings,
        tenants=configs,
        aliases={
            alias.casefold(): tenant
            for tenant, config in configs.items()
            for alias in config.aliases
        },
        digest="",
        files=(),
        state_dir=Path(),
        runtime_dir=Path(),
        database_url=None,
        shards={each.name: each for each in shards},
        migrations_path=None,
        source=None,
    )


def in_good_standing(clock: Callable[[], float] = time.monotonic) -> Standing:
    """Return what a keeper says that has renewed for a long time, and still does when asked."""
    long = LONG.total_seconds()
    past = [clock() - lives * long for lives in (1.5, 1.0, 0.5) for _ in range(2)]
    standing = Standing(long, lambda: past.pop(0) if past else clock())
    while past:
        standing.renewed(standing.now())
    standing.answer(lambda: standing.renewed(standing.now()))
    return standing


def _opened(
    database: Database, control: ControlPool, shards: Iterable[ShardConfig]
) -> AbstractAsyncContextManager[Shards]:
    return Shards.open(
        control,
        shards,
        role_prefix=database.role_prefix,
        application_name="insula shards",
        timeout=5.0,
    )


@asynccontextmanager
async def running_node(
    database: Database,
    declared: Snapshot,
    *,
    name: str = "a",
    max_awake: int = 100,
    kept: UUID | None = None,
    shards: Iterable[ShardConfig] = (),
    **parts: Any,
) -> AsyncIterator[Node]:
    """Run a root over `database` for as long as the block lasts, then drain it.

    `parts` are what it stands on instead of the usual: a clock, a registry, a standing … Its row
    lives long unless it is `kept`, under that id, by the test's own keeper.
    """
    node = kept or uuid4()
    if kept is None:
        await nodes.register(await database.connect(), node, name, LONG)
    async with (
        ControlPool.open(database.target, application_name=f"insula {name}") as control,
        ProcessPool(size=1, memory_bytes=None) as processes,
        _opened(database, control, shards) as places,
    ):
        slots = NodeSlots(64)
        tenants = Tenants(places, database.spec(), declared)
        ground = Ground(
            node=node,
            name=name,
            standing=in_good_standing(),
            shards=places,
            prepare=tenants.prepare,
            registry=Registry.of(workflows.ALL),
            slots=slots,
            clock=SystemClock(),
            connect_timeout=5.0,
            app_places=Places(100),
            processes=processes,
            keys=Keyring(control, database.key),
        )
        ground = replace(ground, **parts)
        root = RootSupervisor(ground, declared.settings.supervision, max_awake=max_awake)
        tenants.root = root
        await tenants.publish(declared)
        async with anyio.create_task_group() as group:
            for each in places.others.values():
                await group.start(ShardKeeper(each, places, database.installation).run)
            await group.start(root.run)
            yield Node(node, name, database, control, tenants, root, slots, group, ground)
            await root.drain()
            group.cancel_scope.cancel()
