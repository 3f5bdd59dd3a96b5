"""Which tenants there are: those the files declare and those registered at run time. Files win."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from orchestrator.lifecycle.provision import ProvisionSpec, ensure_provisioned
from orchestrator.model.api import CreateTenant
from orchestrator.model.errors import ConfigError, InvalidRequest, TenantExists
from orchestrator.model.ids import TenantId, parse_tenant_id
from orchestrator.settings.load import Snapshot
from orchestrator.settings.model import Tenant
from orchestrator.settings.tenants import (
    TenantConfig,
    declare,
    dump_declaration,
    load_declaration,
    tenant_config,
)
from orchestrator.store.connect import ControlPool, Target
from orchestrator.store.control import tenants as rows
from supervisors.ground import Access
from supervisors.root import RootSupervisor

log = structlog.get_logger(__name__)


@dataclass
class Tenants:
    """Keeps the registry, the files and the root's slots in step."""

    control: ControlPool
    target: Target
    spec: ProvisionSpec
    snapshot: Snapshot
    root: RootSupervisor | None = None
    registered: dict[TenantId, TenantConfig] = field(default_factory=dict)

    async def publish(self, snapshot: Snapshot) -> None:
        """Make `snapshot` the truth: into the registry first, then into the slots."""
        declared = [
            (tenant, dump_declaration(snapshot.settings.tenants[tenant]))
            for tenant in snapshot.tenants
        ]
        async with self.control.acquire() as connection:
            await rows.declare(connection, declared)
            stored = await rows.fetch_all(connection)
        self.snapshot = snapshot
        self.registered = {}
        for row in stored:
            if row.source == "api" and row.state != "removed" and row.id not in snapshot.tenants:
                config = self._revive(row.id, row.declaration)
                if config is not None:
                    self.registered[row.id] = config
        self._declare()

    async def register(self, request: CreateTenant) -> TenantId:
        """Add a tenant at run time; TenantExists when its id or an alias is taken."""
        tenant = parse_tenant_id(request.id, role_prefix=self.spec.role_prefix)
        declaration = declare(request)
        config = self._config(tenant, declaration)
        for name in (tenant, *config.aliases):
            holder = self._names().get(name.casefold())
            if holder is not None:
                raise TenantExists(
                    tenant,
                    f"{name!r} is taken by tenant {holder!r}",
                    hint=f"see `insula tenant show {holder}`",
                )
        async with self.control.acquire() as connection:
            await rows.register(connection, tenant, dump_declaration(declaration))
        self.registered[tenant] = config
        self._declare()
        return tenant

    async def prepare(self, tenant: TenantId) -> Access:
        """Provision the tenant if that is needed and return its two logins."""
        async with self.control.acquire() as connection:
            row = await ensure_provisioned(connection, connection, tenant, self.spec)
        logins = self.spec.logins(tenant, row.rotation)
        return Access(engine=logins.as_engine(self.target), app=logins.as_app(self.target))

    def _declare(self) -> None:
        if self.root is not None:
            configs = [*self.snapshot.tenants.values(), *self.registered.values()]
            aliases = {alias: tenant for alias, tenant in self._names().items() if alias != tenant}
            self.root.declare(configs, aliases)

    def _names(self) -> Mapping[str, TenantId]:
        """Every id and alias that is taken, folded, with its tenant."""
        names: dict[str, TenantId] = {}
        for config in (*self.snapshot.tenants.values(), *self.registered.values()):
            names.update({name.casefold(): config.id for name in (config.id, *config.aliases)})
        return names

    def _revive(self, tenant: TenantId, declaration: str) -> TenantConfig | None:
        """Return a registered tenant's configuration, or None when it is unusable.

        A bad one must not keep the others from starting.
        """
        try:
            return self._config(tenant, load_declaration(declaration))
        except (ConfigError, InvalidRequest) as error:
            log.error("tenant.declaration_unusable", tenant=tenant, error=str(error))  # noqa: TRY400 - a mistake in a declaration needs no traceback
            return None

    def _config(self, tenant: TenantId, declaration: Tenant) -> TenantConfig:
        settings = self.snapshot.settings
        return tenant_config(
            tenant, declaration, settings.tiers, settings.supervision, source="api"
        )
