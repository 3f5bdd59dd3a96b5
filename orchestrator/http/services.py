"""What the API needs of the daemon, as protocols, so that it depends on no supervisor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from orchestrator.model.api import (
    CreateTenant,
    ReloadReport,
    RunPage,
    RunView,
    Started,
    StartRun,
    Status,
    TenantSummary,
    TenantView,
)
from orchestrator.model.ids import TenantId
from orchestrator.store.tenant.runs import RunFilter


class Platform(Protocol):
    """The tenants and their runs; the root supervisor is one."""

    def resolve(self, name: str) -> TenantId:
        """Return the tenant of that id or alias; InvalidTenantId or TenantNotFound else."""
        ...

    async def start_runs(self, tenant: TenantId, runs: list[StartRun]) -> list[Started]:
        """Accept all of the runs, or none; they are durable when this returns."""
        ...

    async def read_runs(self, tenant: TenantId, wanted: RunFilter, /) -> RunPage:
        """Return a page of runs, newest first."""
        ...

    async def read_run(self, tenant: TenantId, run: UUID, /) -> RunView:
        """Return everything about one run; RunNotFound when there is none."""
        ...

    def tenants(self) -> list[TenantSummary]:
        """Return every tenant, by id."""
        ...

    async def read_tenant(self, tenant: TenantId) -> TenantView:
        """Return everything about one tenant."""
        ...

    async def create_tenant(self, request: CreateTenant, /) -> TenantView:
        """Register a tenant; TenantExists when its id or an alias is taken."""
        ...

    async def provision(self, tenant: TenantId) -> TenantView:
        """Make the tenant's schema and roles now instead of at first use."""
        ...


@dataclass(frozen=True)
class Services:
    """Everything the API is built from."""

    root: Platform
    status: Callable[[], Awaitable[Status]]
    reload: Callable[[], Awaitable[ReloadReport]]
