"""What all supervisors of a node stand on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import anyio

from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.slots import NodeSlots
from orchestrator.model.clock import Clock
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import ControlPool, Target
from orchestrator.workflow.registry import Registry
from supervisors.standing import Standing


@dataclass(frozen=True, slots=True)
class Access:
    """The two logins of one tenant."""

    engine: Target
    app: Target


@dataclass(frozen=True, slots=True)
class Ground:
    """The node's identity, its control connections and what it serves.

    `prepare` provisions a tenant if that is needed and returns its logins; `app_connections` bounds
    the connections that tasks use at a time, over all tenants.
    """

    node: UUID
    name: str
    standing: Standing
    control: ControlPool
    prepare: Callable[[TenantId], Awaitable[Access]]
    registry: Registry
    slots: NodeSlots
    clock: Clock
    connect_timeout: float
    app_connections: anyio.Semaphore
    processes: ProcessPool
