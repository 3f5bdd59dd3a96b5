"""What all supervisors of a node stand on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.slots import NodeSlots
from orchestrator.model.clock import Clock
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import ControlPool, Target
from orchestrator.store.tenant.places import Places
from orchestrator.store.tenant.sealing import WrappingKeys
from orchestrator.workflow.registry import Registry
from supervisors.breaker import Breaker
from supervisors.standing import Standing


@dataclass(frozen=True, slots=True)
class Access:
    """The two logins of one tenant."""

    engine: Target
    app: Target


class Prepare(Protocol):
    """Provisions a tenant, `again` whether or not that seems to be needed."""

    async def __call__(self, tenant: TenantId, /, *, again: bool = False) -> Access: ...


@dataclass(frozen=True, slots=True)
class Ground:
    """The node's identity, its control connections and what it serves.

    `prepare` provisions a tenant if that is needed and returns its logins; `app_places` bounds
    the connections that tasks use at a time, over all tenants; `keys` open what tenants' rows hold
    sealed.
    """

    node: UUID
    name: str
    standing: Standing
    control: ControlPool
    prepare: Prepare
    registry: Registry
    slots: NodeSlots
    clock: Clock
    connect_timeout: float
    app_places: Places
    processes: ProcessPool
    keys: WrappingKeys
    breaker: Breaker = field(default_factory=Breaker)
