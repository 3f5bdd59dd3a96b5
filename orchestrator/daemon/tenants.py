"""Which tenants there are: those the files declare and those registered at run time. Files win."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
import msgspec
import structlog

from orchestrator.daemon import declared as declarations
from orchestrator.daemon import timetable
from orchestrator.daemon.decided import as_served, differs
from orchestrator.daemon.errands import Errands
from orchestrator.daemon.names import Names, clashes
from orchestrator.daemon.shards import check_homes
from orchestrator.daemon.timetable import SinceWhen
from orchestrator.lifecycle.provision import (
    ProvisionSpec,
    ensure_provisioned,
    needs_provisioning,
    rotate,
)
from orchestrator.model.api import CreateTenant, UpdateTenant
from orchestrator.model.errors import (
    ConfigError,
    DeclaredInFile,
    InvalidRequest,
    SchemaVersionAhead,
    TenantExists,
    TenantHeld,
    TenantRemoved,
    Unavailable,
)
from orchestrator.model.ids import CONTROL_SHARD, TenantId
from orchestrator.settings.load import Snapshot
from orchestrator.settings.model import Tenant
from orchestrator.settings.tenants import (
    TenantConfig,
    declare,
    dump_declaration,
    load_declaration,
    renamed,
    tenant_config,
    updated,
)
from orchestrator.store.connect import DRIVER_ERRORS, Connection, ControlPool
from orchestrator.store.control import shards as copies
from orchestrator.store.control import tenants as rows
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.migrate import read_migrations
from orchestrator.store.shards import Shards
from supervisors.ground import Access
from supervisors.root import RootSupervisor
from supervisors.standing import Standing

PROVISIONED_AT_ONCE = ControlPool.SIZE // 2

LOOK_SECONDS = 2.0
"""How often a node looks for what others changed in the registry."""

log = structlog.get_logger(__name__)


@dataclass
class Tenants:
    """Keeps the registry, the files and the root's slots in step."""

    shards: Shards
    spec: ProvisionSpec
    snapshot: Snapshot
    root: RootSupervisor | None = None
    registered: dict[TenantId, TenantConfig] = field(default_factory=dict)
    since: SinceWhen = field(default_factory=dict)
    trials: dict[TenantId, ProvisionSpec] = field(default_factory=dict)
    _rows: dict[TenantId, TenantRow] = field(default_factory=dict)
    _seen: str = "0"
    _names: Names = field(default_factory=Names)
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    _provisioning: anyio.CapacityLimiter = field(
        default_factory=lambda: anyio.CapacityLimiter(PROVISIONED_AT_ONCE)
    )
    _provisioning_on: dict[str, anyio.CapacityLimiter] = field(default_factory=dict)

    @property
    def control(self) -> ControlPool:
        """The control connections."""
        return self.shards.control

    async def publish(self, snapshot: Snapshot | None = None) -> Mapping[TenantId, list[str]]:
        """Make `snapshot` the truth, or the one in force once more: registry first, then slots.

        Returns the tenants registered at run time that it changes, since it changes their tier,
        with their fields. All of it or nothing: raises ConfigError for what such a tenant still
        needs, or is called as well, and DatabaseUnavailable.
        """
        async with self.lock:
            snapshot = snapshot or self.snapshot
            declared = [
                (tenant, dump_declaration(snapshot.settings.tenants[tenant]))
                for tenant in snapshot.tenants
            ]
            async with self.control.acquire() as connection, connection.transaction():
                seen = await rows.horizon(connection)
                homes = {tenant: config.shard for tenant, config in snapshot.tenants.items()}
                await rows.lock(connection)
                found = await declarations.compare(connection, snapshot.tenants)
                await rows.declare(connection, declared, shards=homes)
                stored = {row.id: row for row in await rows.fetch_all(connection)}
                check_homes(stored.values(), snapshot.shards)
                registered, problems = self._registered(snapshot, stored.values())
                if problems:
                    raise ConfigError(problems)
                self._refuse_clashes(snapshot, registered)
                changed = await declarations.note(
                    connection,
                    snapshot.settings.node.name,
                    found,
                    declared=(snapshot.tenants, registered),
                    known={**self.registered, **self.snapshot.tenants},
                )
                served = as_served([*snapshot.tenants.values(), *registered.values()], stored)
                before = [*self.snapshot.tenants, *self.registered]
                since = await timetable.note(connection, served, before)
                if await declarations.limit(connection, {**registered, **snapshot.tenants}):
                    stored = {row.id: row for row in await rows.fetch_all(connection)}
            self._note(stored, seen)
            self._rows = stored
            self.since = since
            self.snapshot, self.registered = snapshot, registered
            self._names = Names(snapshot.tenants.values(), registered.values())
            if self.root is not None:
                dated = [timetable.dated(each, since) for each in served]
                self.root.declare(dated, self._names.aliases)
            return changed

    def _refuse_clashes(
        self, snapshot: Snapshot, registered: Mapping[TenantId, TenantConfig]
    ) -> None:
        """Raise ConfigError for a name that a file takes from a tenant registered at run time.

        A start goes on, with the name as the file has it, and so does what has been so before.
        """
        found = clashes(snapshot.tenants.values(), registered.values())
        before = clashes(self.snapshot.tenants.values(), self.registered.values())
        new = [each for each in found if each not in before]
        if new and self._rows:
            raise ConfigError(new)
        for problem in new:
            log.error("tenant.name_taken_twice", problem=problem)

    async def register(self, request: CreateTenant) -> TenantId:
        """Add a tenant at run time; TenantExists when its id or an alias is taken."""
        async with self.lock:
            tenant, declaration = declare(
                request, self.snapshot.settings.tiers, role_prefix=self.spec.role_prefix
            )
            config = _config(self.snapshot, tenant, declaration)
            async with self._alone() as connection:
                self._refuse_taken(tenant, config.aliases)
                await rows.register(
                    connection, tenant, dump_declaration(declaration), shard=config.shard
                )
                await declarations.note_one(connection, config)
            await self._look()
        return tenant

    async def update(self, tenant: TenantId, request: UpdateTenant) -> None:
        """Change the declaration of a tenant that was registered at run time.

        Raises DeclaredInFile, TenantExists for an alias that is taken, and InvalidRequest.
        """
        async with self.lock:
            self._refuse_declared_in_file(tenant)
            async with self._alone() as connection:
                row = await rows.fetch(connection, tenant)
                declaration = updated(row.declaration, request, self.snapshot.settings.tiers)
                config = _config(self.snapshot, tenant, declaration)
                self._refuse_taken(tenant, config.aliases, but=tenant)
                await rows.redeclare(
                    connection, tenant, dump_declaration(declaration), shard=config.shard
                )
                await declarations.note_one(connection, config)
            await self._look()

    def refuse_to_rename(self, tenant: TenantId, new: TenantId) -> None:
        """Raise DeclaredInFile, or TenantExists when the new id is taken, as far as is known."""
        if tenant in self.snapshot.tenants:
            raise DeclaredInFile(
                tenant,
                f"tenant {tenant!r} is declared in a file, so a reload would make it anew",
                hint=f"take [tenants.{tenant}] out of its file, reload, rename it, and then "
                f"declare it as [tenants.{new}]",
            )
        self._refuse_taken(new, [], but=tenant)

    @asynccontextmanager
    async def renaming(
        self, connection: Connection, tenant: TenantId, new: TenantId, *, alias: bool
    ) -> AsyncIterator[str]:
        """Yield a tenant's declaration under its `new` id, in a transaction of the caller's.

        Nobody takes a name before that ends. Raises DeclaredInFile, TenantExists, or InvalidRequest
        for a tier that is not there any more.
        """
        async with self.lock:
            await rows.lock(connection)
            await self._take_over(connection)
            row = await rows.fetch(connection, tenant)
            declaration = renamed(row.declaration, tenant, new, alias=alias)
            self.refuse_to_rename(tenant, new)
            self._refuse_taken(new, declaration.aliases, but=tenant)
            config = _config(self.snapshot, new, declaration)
            yield dump_declaration(declaration)
            await declarations.note_one(connection, config)

    async def refresh(self) -> None:
        """Take over now what has been changed in the registry."""
        async with self.lock:
            await self._look()

    async def admit(self, connection: Connection, *, tenant: TenantId, declaration: str) -> None:
        """Refuse the id and the aliases that another tenant has, until the transaction is over.

        Raises TenantExists. A tenant that is declared already has its names.
        """
        async with self.lock:
            await rows.lock(connection)
            await self._take_over(connection)
            if tenant not in self.snapshot.tenants and tenant not in self.registered:
                config = _config(self.snapshot, tenant, load_declaration(declaration))
                self._refuse_taken(tenant, config.aliases)

    def declared(self, tenant: TenantId, declaration: str) -> TenantConfig:
        """Return what a tenant is declared as: by a file, or else as it was stored."""
        known = self.snapshot.tenants.get(tenant)
        return known or _config(self.snapshot, tenant, load_declaration(declaration))

    def _refuse_taken(
        self, tenant: TenantId, aliases: Iterable[str], *, but: TenantId | None = None
    ) -> None:
        """Raise TenantExists for an id or alias that another tenant than `but` has."""
        for name in (tenant, *aliases):
            holder = self._names.get(name)
            if holder is not None and holder != but:
                whose = ", which a file declares" if holder in self.snapshot.tenants else ""
                raise TenantExists(
                    tenant,
                    f"{name!r} is taken by tenant {holder!r}{whose}",
                    hint=f"see `insula tenant show {holder}`",
                )

    def _refuse_declared_in_file(self, tenant: TenantId) -> None:
        if tenant in self.snapshot.tenants:
            raise DeclaredInFile(
                tenant,
                f"tenant {tenant!r} is declared in a file, which goes before what is said here",
                hint=f"change [tenants.{tenant}] in its file and reload",
            )

    async def prepare(self, tenant: TenantId, /, *, again: bool = False) -> Access:
        """Provision the tenant if that is needed, or `again`, and return its two logins."""
        async with self.control.acquire() as connection:
            row = await rows.fetch(connection, tenant)
        if not row.usable:
            raise TenantRemoved(f"tenant {tenant!r} was deleted")
        if row.held_for is not None:
            raise TenantHeld(tenant, row.held_for)
        if again or needs_provisioning(row, self._spec_of(tenant)):
            async with self._provisioner(row) as (control, server):
                row = await self._provision(control, server, tenant, again=again)
                if control is not server:
                    # insula.submit takes runs there as soon as this returns.
                    await copies.copy(server, await copies.of_tenants(control, [tenant]))
        self._remember(row)
        logins, target = self.spec.logins(tenant, row.rotation), self.shards.target_of(row)
        return Access(logins.as_engine(target), logins.as_app(target), row.registration)

    async def _provision(
        self, control: Connection, server: Connection, tenant: TenantId, *, again: bool
    ) -> TenantRow:
        spec = self._spec_of(tenant)
        try:
            return await ensure_provisioned(control, server, tenant, spec, again=again)
        except SchemaVersionAhead:
            newer = await read_spec(self.spec, self.snapshot)
            if newer == spec:
                raise
            # Another node has migrated it since we read the files, which came to us as well.
            self.trials[tenant] = newer
            return await ensure_provisioned(control, server, tenant, newer, again=again)

    def _spec_of(self, tenant: TenantId) -> ProvisionSpec:
        """Return what the tenant is made from: newer files than the others', for a canary."""
        return self.trials.get(tenant, self.spec)

    async def migrate(
        self, control: Connection, server: Connection, tenant: TenantId, *, lock_timeout: str
    ) -> TenantRow:
        """Bring the tenant up to date over connections that may take their time.

        Whatever its row says: a schema that was restored may be older than that. Raises TenantHeld
        for one that a verb keeps quiet.
        """
        row = await rows.fetch(control, tenant)
        if row.held_for is not None:
            raise TenantHeld(tenant, row.held_for)
        row = await ensure_provisioned(
            control,
            server,
            tenant,
            self._spec_of(tenant),
            again=True,
            lock_timeout=lock_timeout,
        )
        self._remember(row)
        return row

    async def rotate(self, tenant: TenantId) -> TenantRow:
        """Give the tenant's two logins new passwords, and return its row."""
        row = await self.shards.row(tenant)
        async with self._provisioner(row) as (control, server):
            row = await rotate(server, tenant, self._spec_of(tenant), control=control)
        self._remember(row)
        return row

    @asynccontextmanager
    async def _provisioner(self, row: TenantRow) -> AsyncIterator[tuple[Connection, Connection]]:
        """Lend connections to the registry and to the tenant's database, which may be one.

        Migrations may take their time; those who only want a lease must find a connection.
        """
        if row.shard == CONTROL_SHARD:
            async with self._provisioning, self.control.acquire() as connection:
                yield connection, connection
            return
        places = self._provisioning_on.setdefault(
            row.shard, anyio.CapacityLimiter(PROVISIONED_AT_ONCE)
        )
        async with places:
            await self.shards.make_ready(row, self.spec.installation)
            # A slow shard must not keep what the control connections are for from anybody.
            pair = Errands(self.shards).pair("provisioning", row, lock_timeout="10s")
            async with pair as connections:
                yield connections

    def remembered(self, tenant: TenantId) -> TenantRow | None:
        """Return the tenant's row as it was last seen; None when it is newer than that."""
        return self._rows.get(tenant)

    def _remember(self, row: TenantRow) -> None:
        """Keep what is newly known of a tenant. What slots are made from is for the next look."""
        if not differs(row, self._rows.get(row.id)):
            self._rows[row.id] = row

    @property
    def absent(self) -> list[TenantRow]:
        """The tenants that are being deleted, or are archived, as far as is known here."""
        return [row for row in self._rows.values() if row.state in ("deleting", "archived")]

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[Connection]:
        """Begin a transaction that knows every name, and in which no other node takes one."""
        async with self.control.acquire() as connection, connection.transaction():
            await rows.lock(connection)
            await self._take_over(connection)
            yield connection

    async def _look(self) -> None:
        """Read what was changed since the last look, and let the slots follow."""
        async with self.control.acquire() as connection:
            await self._take_over(connection)

    async def _take_over(self, connection: Connection) -> None:
        """Take over all of what was changed, or nothing: the next look finds it then.

        It costs as much as there are changes, however many tenants there are.
        """
        if not await rows.fetch_changed(connection, self._seen):
            return
        seen = await rows.horizon(connection)
        found = {row.id: row for row in await rows.fetch_changed(connection, self._seen)}
        changed = [row for row in found.values() if differs(row, self._rows.get(row.id))]
        follow = await self._changes(connection, changed) if changed else None
        self._note(found, seen)
        if follow is not None:
            follow()

    async def _changes(
        self, connection: Connection, changed: Sequence[TenantRow]
    ) -> Callable[[], None]:
        """Note what follows from these rows, and return what has this node follow as well."""
        registered, problems = self._registered(self.snapshot, changed)
        if problems:
            # Another node knows more than this one: what it can not use stays as it was here.
            log.error("tenants.change_unusable", problems=problems)
        stored = {row.id: row for row in changed}
        every = [self.snapshot.tenants.get(tenant, registered.get(tenant)) for tenant in stored]
        served = as_served(filter(None, every), stored)
        since = await timetable.note(connection, served)

        def follow() -> None:
            self.since.update(since)
            for tenant in stored:
                self._keep(tenant, registered.get(tenant))
            if self.root is not None:
                dated = [timetable.dated(each, self.since) for each in served]
                gone = stored.keys() - {each.id for each in served}
                self.root.declare(dated, self._names.aliases, gone=gone)

        return follow

    def _keep(self, tenant: TenantId, config: TenantConfig | None) -> None:
        """Have a tenant be registered as `config`, or as none, with the names that it has then."""
        before = self.registered.pop(tenant, None)
        if before is not None:
            self._names.remove(before)
        if config is not None:
            self._names.add(config)
            self.registered[tenant] = config

    def _note(self, found: Mapping[TenantId, TenantRow], seen: str) -> None:
        """Keep the rows as they are now, and have shards hear of those that changed."""
        for row in found.values():
            before = self._rows.get(row.id)
            if row != before:
                self.shards.changed(before, row)
                self._rows[row.id] = row
        self._seen = seen

    def _registered(
        self, snapshot: Snapshot, stored: Iterable[TenantRow]
    ) -> tuple[dict[TenantId, TenantConfig], list[str]]:
        """Return those registered at run time, as `snapshot` makes them, and what is wrong.

        One that this version or configuration can not use must not keep the others from starting,
        but nothing may take away what a tenant that is served needs: that stays, as a problem.
        """
        found: dict[TenantId, TenantConfig] = {}
        problems: list[str] = []
        for row in stored:
            if row.source != "api" or not row.usable or row.id in snapshot.tenants:
                continue
            try:
                found[row.id] = _config(snapshot, row.id, load_declaration(row.declaration))
            except (ConfigError, InvalidRequest) as error:
                known = self._rows.get(row.id)
                if row.id in self.registered and known and known.registration == row.registration:
                    problems.append(f"tenant {row.id!r}, registered at run time: {error}")
                    found[row.id] = self.registered[row.id]
                log.error("tenant.declaration_unusable", tenant=row.id, error=str(error))  # noqa: TRY400 - a mistake in a declaration needs no traceback
        return found, problems


async def read_spec(spec: ProvisionSpec, snapshot: Snapshot) -> ProvisionSpec:
    """Return `spec` with the migrations as the files are now; ConfigError."""
    if snapshot.migrations_path is None:
        return spec
    files = await anyio.to_thread.run_sync(read_migrations, snapshot.migrations_path)
    return msgspec.structs.replace(spec, app_migrations=files)


async def watch(tenants: Tenants, standing: Standing) -> None:
    """Take over, for ever, what other nodes and other programs change in the registry."""
    while True:
        await anyio.sleep(LOOK_SECONDS)
        if standing.outage is not None:
            continue
        try:
            await tenants.refresh()
        except (Unavailable, *DRIVER_ERRORS) as error:
            # The keeper tells of the outage; the next look finds what this one missed.
            log.warning("tenants.not_looked_at", error=str(error))


def check_declaration(snapshot: Snapshot, tenant: TenantId, declaration: str) -> None:
    """Raise ConfigError or InvalidRequest for a stored declaration that is of no use here."""
    _config(snapshot, tenant, load_declaration(declaration))


def _config(snapshot: Snapshot, tenant: TenantId, declaration: Tenant) -> TenantConfig:
    settings = snapshot.settings
    return tenant_config(tenant, declaration, settings.tiers, settings.supervision, source="api")
