"""What all supervisors of a node stand on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from orchestrator.cache.store import Stores
from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.slots import NodeSlots
from orchestrator.model.clock import Clock
from orchestrator.model.ids import CONTROL_SHARD, TenantId
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.connect import ControlPool, Target
from orchestrator.store.control.keys import Keyring
from orchestrator.store.outage import Reach
from orchestrator.store.shards import Shards
from orchestrator.store.tenant.places import Places
from orchestrator.workflow.registry import Registry
from supervisors.breaker import Breaker
from supervisors.standing import Standing


@dataclass(frozen=True, slots=True)
class Access:
    """The two logins of one tenant, and which of its id it is."""

    engine: Target
    app: Target
    registration: UUID


class Prepare(Protocol):
    """Provisions a tenant, `again` whether or not that seems to be needed."""

    async def __call__(self, tenant: TenantId, /, *, again: bool = False) -> Access: ...


@dataclass(frozen=True, slots=True)
class Ground:
    """The node's identity, the databases it uses and what it serves.

    `prepare` provisions a tenant if that is needed and returns its logins; `app_places` bounds
    the connections that tasks use at a time, over all tenants; `keys` open what tenants' rows hold
    sealed; `alert_percent` of a limit used is when that is told.
    """

    node: UUID
    name: str
    standing: Standing
    shards: Shards
    prepare: Prepare
    registry: Registry
    slots: NodeSlots
    clock: Clock
    connect_timeout: float
    app_places: Places
    processes: ProcessPool
    keys: Keyring
    caches: Stores | None = None
    alert_percent: int = 80
    breaker: Breaker = field(default_factory=Breaker)
    breakers: dict[str, Breaker] = field(default_factory=dict)

    @property
    def control(self) -> ControlPool:
        """The control connections."""
        return self.shards.control

    def reaches(self, config: TenantConfig) -> tuple[Reach, ...]:
        """Return what has to answer for the tenant to be served: the control database first."""
        return (self.standing, *self.shards.reaches(config.shard))

    def check_answers(self, config: TenantConfig) -> None:
        """Raise DatabaseUnavailable while a server that the tenant needs is known to be silent."""
        for reach in self.reaches(config):
            if reach.outage is not None:
                raise reach.outage.refusal()

    def breaker_of(self, shard: str) -> Breaker:
        """Return the breaker of the server that has the tenants of `shard`."""
        if shard == CONTROL_SHARD:
            return self.breaker
        return self.breakers.setdefault(shard, Breaker())
