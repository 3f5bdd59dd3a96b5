"""Which tenants there are: those the files declare and those registered at run time. Files win."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import anyio
import structlog

from orchestrator.daemon import timetable
from orchestrator.daemon.timetable import SinceWhen
from orchestrator.lifecycle.provision import ProvisionSpec, ensure_provisioned, needs_provisioning
from orchestrator.model.api import CreateTenant
from orchestrator.model.errors import ConfigError, InvalidRequest, TenantExists
from orchestrator.model.ids import TenantId
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
from orchestrator.store.control.tenants import TenantRow
from supervisors.ground import Access
from supervisors.root import RootSupervisor

PROVISIONED_AT_ONCE = ControlPool.SIZE // 2

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
    since: SinceWhen = field(default_factory=dict)
    _rows: dict[TenantId, TenantRow] = field(default_factory=dict)
    _lock: anyio.Lock = field(default_factory=anyio.Lock)
    _provisioning: anyio.CapacityLimiter = field(
        default_factory=lambda: anyio.CapacityLimiter(PROVISIONED_AT_ONCE)
    )

    async def publish(self, snapshot: Snapshot) -> None:
        """Make `snapshot` the truth: into the registry first, then into the slots.

        All of it or nothing: raises ConfigError for what a tenant registered at run time still
        needs, and DatabaseUnavailable.
        """
        declared = [
            (tenant, dump_declaration(snapshot.settings.tenants[tenant]))
            for tenant in snapshot.tenants
        ]
        async with self._lock:
            async with self.control.acquire() as connection:
                stored = await rows.fetch_all(connection)
                registered = self._registered(snapshot, stored)
                configs = [*snapshot.tenants.values(), *registered.values()]
                before = [*self.snapshot.tenants, *self.registered]
                async with connection.transaction():
                    await rows.declare(connection, declared)
                    self.since = await timetable.note(connection, configs, before)
            self._rows = {row.id: row for row in stored}
            self.snapshot = snapshot
            self.registered = registered
            self._declare()

    async def register(self, request: CreateTenant) -> TenantId:
        """Add a tenant at run time; TenantExists when its id or an alias is taken."""
        async with self._lock:
            tenant, declaration = declare(
                request, self.snapshot.settings.tiers, role_prefix=self.spec.role_prefix
            )
            config = _config(self.snapshot, tenant, declaration)
            self._refuse_taken(config)
            async with self.control.acquire() as connection, connection.transaction():
                await rows.register(connection, tenant, dump_declaration(declaration))
                self.since = {**self.since, **await timetable.note(connection, [config])}
            self.registered[tenant] = config
            self._declare()
        return tenant

    def _refuse_taken(self, config: TenantConfig) -> None:
        names = self._names()
        for name in (config.id, *config.aliases):
            holder = names.get(name.casefold())
            if holder is not None:
                raise TenantExists(
                    config.id,
                    f"{name!r} is taken by tenant {holder!r}",
                    hint=f"see `insula tenant show {holder}`",
                )

    async def prepare(self, tenant: TenantId, /, *, again: bool = False) -> Access:
        """Provision the tenant if that is needed, or `again`, and return its two logins."""
        async with self.control.acquire() as connection:
            row = await rows.fetch(connection, tenant)
        if again or needs_provisioning(row, self.spec):
            # Migrations may take their time; those who only want a lease must find a connection.
            async with self._provisioning, self.control.acquire() as connection:
                row = await ensure_provisioned(
                    connection, connection, tenant, self.spec, again=again
                )
        self._rows[tenant] = row
        logins = self.spec.logins(tenant, row.rotation)
        return Access(engine=logins.as_engine(self.target), app=logins.as_app(self.target))

    def remembered(self, tenant: TenantId) -> TenantRow | None:
        """Return the tenant's row as it was last seen; None when it is newer than that."""
        return self._rows.get(tenant)

    def _declare(self) -> None:
        if self.root is not None:
            tenants = [*self.snapshot.tenants.values(), *self.registered.values()]
            configs = [timetable.dated(config, self.since) for config in tenants]
            aliases = {alias: tenant for alias, tenant in self._names().items() if alias != tenant}
            self.root.declare(configs, aliases)

    def _names(self) -> Mapping[str, TenantId]:
        """Every id and alias that is taken, folded, with its tenant.

        An id goes before any alias, and an alias of a file before one that was registered.
        """
        files, registered = self.snapshot.tenants.values(), self.registered.values()
        names: dict[str, TenantId] = {}
        for config in (*registered, *files):
            names.update({alias.casefold(): config.id for alias in config.aliases})
        return names | {config.id: config.id for config in (*registered, *files)}

    def _registered(
        self, snapshot: Snapshot, stored: Iterable[TenantRow]
    ) -> dict[TenantId, TenantConfig]:
        """Return the tenants registered at run time, as `snapshot` makes them.

        One that this version or configuration can not use must not keep the others from starting,
        but no reload may take away what a tenant that is served needs.
        """
        found: dict[TenantId, TenantConfig] = {}
        problems: list[str] = []
        for row in stored:
            if row.source != "api" or row.state == "removed" or row.id in snapshot.tenants:
                continue
            try:
                found[row.id] = _config(snapshot, row.id, load_declaration(row.declaration))
            except (ConfigError, InvalidRequest) as error:
                if row.id in self.registered:
                    problems.append(f"tenant {row.id!r}, registered at run time: {error}")
                log.error("tenant.declaration_unusable", tenant=row.id, error=str(error))  # noqa: TRY400 - a mistake in a declaration needs no traceback
        if problems:
            raise ConfigError(problems)
        return found


def _config(snapshot: Snapshot, tenant: TenantId, declaration: Tenant) -> TenantConfig:
    settings = snapshot.settings
    return tenant_config(tenant, declaration, settings.tiers, settings.supervision, source="api")
