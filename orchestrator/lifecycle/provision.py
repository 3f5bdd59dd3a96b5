"""Makes a tenant: its schema, its two logins, the engine's tables and the application's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from orchestrator.lifecycle.failing import failing_statement
from orchestrator.lifecycle.keys import InstallationKey
from orchestrator.lifecycle.outside import Outside, forget
from orchestrator.lifecycle.sealing import own_keys
from orchestrator.model.errors import (
    LockNotHad,
    RoleConflict,
    SchemaConflict,
    TenantExists,
    TenantRemoved,
)
from orchestrator.model.ids import TenantId, app_role, engine_role, schema_of
from orchestrator.store import sql, sqlstate
from orchestrator.store.connect import Connection, Target, translated
from orchestrator.store.control import tenants
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.migrate import (
    Applied,
    Migration,
    engine_migrations,
    migration_failure,
    pending,
)
from orchestrator.store.tenant.places import APP_CONNECTIONS

_QUERIES = sql.load(__name__)
BEGIN = _QUERIES["begin"]
LOOK_AT_SCHEMA = _QUERIES["look_at_schema"]
LOOK_AT_ROLES = _QUERIES["look_at_roles"]
CREATE_ROLE = _QUERIES["create_role"]
SET_UP_ENGINE_ROLE = _QUERIES["set_up_engine_role"]
SET_UP_APP_ROLE = _QUERIES["set_up_app_role"]
MAY_CONNECT = _QUERIES["may_connect"]
GRANT_CONNECT = _QUERIES["grant_connect"]
CREATE_SCHEMA = _QUERIES["create_schema"]
GRANT_SCHEMA = _QUERIES["grant_schema"]
GRANT_ENGINE = _QUERIES["grant_engine"]
LEDGER = _QUERIES["ledger"]
RECORD = _QUERIES["record"]
BEGIN_APPLICATION = _QUERIES["begin_application"]
END_APPLICATION = _QUERIES["end_application"]
CHECK_CONSTRAINTS = _QUERIES["check_constraints"]

LOCK_TIMEOUT = "10s"
"""How long provisioning waits for what others hold."""

# Raise it when the roles or rights that provision.sql makes change, so that tenants get them.
_RIGHTS = "6"
_NOT_IN_TIME = (sqlstate.LOCK_NOT_AVAILABLE, sqlstate.QUERY_CANCELED)
_NAME_TAKEN = (sqlstate.DUPLICATE_OBJECT, sqlstate.UNIQUE_VIOLATION)


Fill: TypeAlias = Callable[[str], Awaitable[object]]
"""Makes a tenant's schema; it is given the application's login, which is there."""


class ProvisionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant is made from; the same for all tenants of an installation."""

    role_prefix: str
    installation: UUID
    key: InstallationKey
    engine_migrations: tuple[Migration, ...] = msgspec.field(default_factory=engine_migrations)
    app_migrations: tuple[Migration, ...] = ()

    @property
    def mark(self) -> str:
        """The comment that says whose a role is."""
        return f"insula:{self.installation}"

    def logins(self, tenant: TenantId, rotation: int = 0) -> Logins:
        """Return the logins of `tenant`."""
        engine = engine_role(tenant, prefix=self.role_prefix)
        app = app_role(tenant, prefix=self.role_prefix)
        return Logins(engine=engine, app=app, key=self.key, rotation=rotation)

    def fingerprint(self, tenant: TenantId, rotation: int = 0) -> str:
        """Return a text that differs when anything differs that `tenant` would be made from."""
        logins = self.logins(tenant, rotation)
        checksums = [m.checksum for m in (*self.engine_migrations, *self.app_migrations)]
        split = str(len(self.engine_migrations))
        return self.key.fingerprint(
            _RIGHTS, self.mark, logins.engine, logins.app, split, *checksums, rotation=rotation
        )


class Logins(msgspec.Struct, frozen=True, kw_only=True):
    """The two roles of one tenant: the supervisor's and the application's."""

    engine: str
    app: str
    key: InstallationKey
    rotation: int = 0

    def as_engine(self, target: Target) -> Target:
        """Return `target` under the login of the supervisor."""
        return target.as_role(self.engine, self.key.password(self.engine, self.rotation))

    def as_app(self, target: Target) -> Target:
        """Return `target` under the login of tasks and application code."""
        return target.as_role(self.app, self.key.password(self.app, self.rotation))


class Provisioned(msgspec.Struct, frozen=True, kw_only=True):
    """What is there now; `created` when the schema is new."""

    engine_version: int
    app_version: int
    created: bool
    fingerprint: str


def needs_provisioning(row: TenantRow, spec: ProvisionSpec) -> bool:
    """Tell whether `provision` would find anything to do, by the registry's row alone."""
    return row.state != "provisioned" or row.fingerprint != spec.fingerprint(row.id, row.rotation)


async def ensure_provisioned(
    control: Connection,
    server: Connection,
    tenant: TenantId,
    spec: ProvisionSpec,
    *,
    again: bool = False,
    lock_timeout: str = LOCK_TIMEOUT,
) -> TenantRow:
    """Provision a registered tenant if its row says so, and return the row as it is then.

    `again` does so whatever the row says: it does not know what became of roles and rights since.
    Raises LockNotHad for what others hold longer than `lock_timeout`.

    `control` leads to the control schema and `server` to the database that holds the tenant;
    they may be one connection. Costs one query when everything is there.
    """
    with provisioning_errors(tenant):
        row = await tenants.fetch(control, tenant)
        if not (again or needs_provisioning(row, spec)):
            return row
        while True:
            made = row.rotation
            done = await provision(
                server,
                tenant,
                spec,
                rotation=made,
                lock_timeout=lock_timeout,
                control=control,
            )
            await _note(control, tenant, done)
            row = await tenants.fetch(control, tenant)
            if row.rotation == made:
                return row
            # The passwords were rotated meanwhile, and now the logins have those of before.


async def rotate(
    connection: Connection,
    tenant: TenantId,
    spec: ProvisionSpec,
    *,
    control: Connection | None = None,
) -> TenantRow:
    """Give both logins of a tenant new passwords, and return its row.

    Row and roles change in one transaction: after an end at any moment the logins have the
    passwords that the row tells of. When `control` leads to the registry apart, the row goes first,
    and tells that there is something to provision. Sessions go on; who logs in next has to read
    the row first.
    Raises what `provision` does, TenantRemoved for one that is being deleted.
    """
    control = control or connection
    with provisioning_errors(tenant):
        # Migrations come first, each in a transaction of its own.
        await ensure_provisioned(control, connection, tenant, spec)
        async with connection.transaction():
            # The wait comes before the row: whoever reloads waits for who holds that.
            await Provisioner(connection, tenant, spec, rotation=0, control=control).begin()
            rotation = await tenants.rotate(control, tenant)
            done = await provision(connection, tenant, spec, rotation=rotation, control=control)
            await _note(control, tenant, done)
        return await tenants.fetch(control, tenant)


async def _note(control: Connection, tenant: TenantId, done: Provisioned) -> None:
    await tenants.mark_provisioned(
        control,
        tenant,
        engine_version=done.engine_version,
        app_version=done.app_version,
        fingerprint=done.fingerprint,
    )


async def provision(
    connection: Connection,
    tenant: TenantId,
    spec: ProvisionSpec,
    *,
    rotation: int = 0,
    control: Connection | None = None,
    lock_timeout: str = LOCK_TIMEOUT,
) -> Provisioned:
    """Make or complete `tenant` under the admin login; safe to repeat and to run side by side.

    `control` leads to the registry, if `connection` does not.

    Roles, schema, the engine's tables and all rights come in one transaction, each migration of
    the application in one of its own, so an end at any moment leaves nothing half-done and the
    next call goes on from there. Those that are marked so run outside one: see `outside`.

    >>> await provision(connection, TenantId("acme"), spec)
    Provisioned(engine_version=1, app_version=0, created=True, fingerprint='…')
    """
    work = Provisioner(
        connection, tenant, spec, rotation, lock_timeout=lock_timeout, control=control
    )
    with provisioning_errors(tenant):
        created = await work.make()
        if not created:
            await own_keys(control or connection, connection, tenant, spec.key)
        while missing := await work.missing():
            await work.apply(missing[0])
    return Provisioned(
        engine_version=len(spec.engine_migrations),
        app_version=len(spec.app_migrations),
        created=created,
        fingerprint=spec.fingerprint(tenant, rotation),
    )


async def provision_filled(
    connection: Connection, tenant: TenantId, spec: ProvisionSpec, fill: Fill, *, rotation: int
) -> None:
    """Make the roles of `tenant`, have `fill` make its schema with all that is in it, and grant.

    In the caller's transaction, which ends it all or nothing; what the engine has changed since is
    made up for, and what the application has is left for the tenant's next use. Raises
    TenantExists when there is a schema, and what `provision` does.
    """
    with provisioning_errors(tenant):
        await Provisioner(connection, tenant, spec, rotation).make(fill)


async def lock_tenant(
    connection: Connection,
    tenant: TenantId,
    spec: ProvisionSpec,
    *,
    anew: bool = False,
    control: Connection | None = None,
) -> None:
    """Within a transaction, wait for whoever provisions, renames or deletes the tenant.

    TenantRemoved when it was deleted, unless it is to be made `anew`.
    """
    await Provisioner(connection, tenant, spec, rotation=0, control=control).begin(anew=anew)


async def make(
    connection: Connection,
    tenant: TenantId,
    spec: ProvisionSpec,
    *,
    rotation: int,
    control: Connection | None = None,
) -> None:
    """Make or complete all of `tenant` but the application's tables, in one transaction."""
    with provisioning_errors(tenant):
        await Provisioner(connection, tenant, spec, rotation, control=control).make()


@asynccontextmanager
async def rehearsal(
    connection: Connection,
    tenant: TenantId,
    spec: ProvisionSpec,
    *,
    lock_timeout: str = LOCK_TIMEOUT,
    control: Connection | None = None,
) -> AsyncIterator[tuple[Migration, ...]]:
    """Do what `provision` would do, and roll all of it back after the block.

    Yields what can not be tried: the first migration of the application that runs outside a
    transaction, and all that come after it. Raises what `provision` would. What the tenant's
    sessions want to lock waits until the end; what a sequence has counted stays counted.
    """
    work = Provisioner(
        connection, tenant, spec, rotation=0, lock_timeout=lock_timeout, control=control
    )
    with provisioning_errors(tenant):
        transaction = connection.transaction()
        await transaction.start()
        try:
            await work.make()
            while (missing := await work.missing()) and missing[0].transactional:
                await work.apply(missing[0])
            yield missing
        finally:
            if not connection.is_closed():
                await transaction.rollback()


class Provisioner:
    """What one tenant is made with: the names to fill in and the statements in their order."""

    def __init__(
        self,
        connection: Connection,
        tenant: TenantId,
        spec: ProvisionSpec,
        rotation: int,
        *,
        lock_timeout: str = LOCK_TIMEOUT,
        control: Connection | None = None,
    ) -> None:
        self._connection = connection
        self._control = control or connection
        self._tenant = tenant
        self._spec = spec
        self._schema = schema_of(tenant)
        self._logins = spec.logins(tenant, rotation)
        self._lock_timeout = lock_timeout

    async def make(self, fill: Fill | None = None, *, adopt: bool = False) -> bool:
        """Make everything but the application's tables; tell whether the schema is new.

        With `fill`, which makes the schema, there must be none. SchemaConflict for a schema that
        has anything and is not ours, unless it is to `adopt`.
        """
        async with self._connection.transaction():
            await self.begin(anew=fill is not None)
            exists, ours = await self._look_at_schema(adopt=adopt)
            if exists and fill is not None:
                raise TenantExists(
                    self._tenant,
                    f"tenant {self._tenant!r} is there already, in the schema {self._schema!r}",
                )
            await self._make_roles()
            if fill is not None:
                await fill(self._logins.app)
                ours = True
            elif not exists:
                await self._run(CREATE_SCHEMA)
            await self._run(GRANT_SCHEMA)
            ledger = await self._ledger("engine") if ours else []
            for migration in pending(ledger, self._spec.engine_migrations, owner=self._tenant):
                await self._apply("engine", migration, sql.bind(migration.sql, self._schema))
            await self._run(GRANT_ENGINE)
        return not exists

    async def missing(self) -> tuple[Migration, ...]:
        """Return the migrations of the application that the tenant lacks."""
        ledger = await self._ledger("app")
        return pending(ledger, self._spec.app_migrations, owner=self._tenant)

    async def apply(self, migration: Migration) -> None:
        """Apply a migration of the application, unless another session has done so meanwhile."""
        try:
            await self._apply_alone(migration)
        finally:
            # A lock of the session, for one, outlives a transaction that has failed.
            await forget(self._connection)

    async def _apply_alone(self, migration: Migration) -> None:
        outside = Outside(self._connection, self._tenant, migration)
        async with self._connection.transaction():
            await self.begin()
            if migration not in await self.missing():
                return
            if migration.transactional:
                await self._run(BEGIN_APPLICATION)
                await self._apply("app", migration, migration.sql)
                await self._run(END_APPLICATION)
            else:
                await outside.claim()
        if not migration.transactional:
            await outside.run()
            async with self._connection.transaction():
                await self.begin()
                await outside.end()

    async def begin(self, *, anew: bool = False) -> None:
        """Wait for whoever provisions or deletes the tenant; TenantRemoved when it was deleted.

        Who makes it `anew` looks at its row later.
        """
        await self._run(BEGIN, lock_timeout=self._lock_timeout)
        if not anew and await tenants.is_removed(self._control, self._tenant):
            raise TenantRemoved(f"tenant {self._tenant!r} was deleted")

    async def _look_at_schema(self, *, adopt: bool) -> tuple[bool, bool]:
        row = await self._connection.fetchrow(LOOK_AT_SCHEMA, self._schema)
        exists, ours, occupied = row or (False, False, False)
        if occupied and not (ours or adopt):
            raise SchemaConflict(
                self._tenant,
                f"the schema {self._schema!r} exists and is not one of Insula's",
                hint="choose another tenant id, or rename that schema: "
                "`insula tenant adopt` takes it over then",
            )
        return exists, ours

    async def _make_roles(self) -> None:
        roles = (self._logins.engine, self._logins.app)
        found = await self._connection.fetch(LOOK_AT_ROLES, roles)
        for name, mark, powerful in found:
            self._check_role(name, mark, powerful=powerful)
        there = {name for name, _, _ in found}
        for role in roles:
            if role not in there:
                await self._create_role(role)
        await self._run(SET_UP_ENGINE_ROLE, role=roles[0], verifier=self._verifier(roles[0]))
        await self._run(
            SET_UP_APP_ROLE,
            role=roles[1],
            verifier=self._verifier(roles[1]),
            connections=APP_CONNECTIONS,
        )
        if not await self._connection.fetchval(MAY_CONNECT, *roles):
            await self._run(GRANT_CONNECT)

    def _check_role(self, role: str, mark: str | None, *, powerful: bool) -> None:
        if mark != self._spec.mark:
            raise RoleConflict(
                self._tenant,
                f"the role {role!r} exists and belongs to "
                + ("another installation" if (mark or "").startswith("insula:") else "others"),
                hint="roles are shared by all databases of a server: "
                "set another [database] role_prefix",
                data={"role": role},
            )
        if powerful:
            raise RoleConflict(
                self._tenant,
                f"the role {role!r} has been given rights that no tenant's login may have",
                hint=f"take them away, with its memberships: see \\du {role} in psql",
                data={"role": role},
            )

    async def _create_role(self, role: str) -> None:
        try:
            await self._run(CREATE_ROLE, role=role, mark=self._spec.mark)
        except asyncpg.PostgresError as error:
            # Another database of this server made it since we looked.
            if error.sqlstate in _NAME_TAKEN:
                self._check_role(role, None, powerful=False)
            raise

    def _verifier(self, role: str) -> str:
        return self._spec.key.verifier(role, self._logins.rotation)

    async def _ledger(self, ledger: str) -> list[Applied]:
        rows = await self._connection.fetch(sql.bind(LEDGER, self._schema), ledger)
        return [Applied(*row) for row in rows]

    async def _apply(self, ledger: str, migration: Migration, text: str) -> None:
        try:
            await self._connection.execute(text)
            # What would be refused at the commit is refused here, where it is known whose it is.
            await self._connection.execute(CHECK_CONSTRAINTS)
        except asyncpg.PostgresError as error:
            at = await failing_statement(self._connection, text, error) if ledger == "app" else None
            raise migration_failure(self._tenant, migration, error, at=at) from error
        await self.record(ledger, migration)

    async def record(self, ledger: str, migration: Migration) -> None:
        """Note in a ledger that the migration is applied."""
        await self._connection.execute(
            sql.bind(RECORD, self._schema),
            ledger,
            migration.number,
            migration.name,
            migration.checksum,
        )

    async def _run(self, statements: str, **values: str | int) -> None:
        """Send a block of DDL in one message, with the names of this tenant filled in."""
        names = {
            "tenant": self._tenant,
            "schema": self._schema,
            "engine": self._logins.engine,
            "app": self._logins.app,
        }
        if "database" in statements:
            values["database"] = await self._connection.fetchval("SELECT current_database()")
        text = sql.fill(sql.bind(statements, self._schema), **names, **values)
        await self._connection.execute(text)


@contextmanager
def provisioning_errors(tenant: TenantId) -> Iterator[None]:
    """Raise the driver's errors as ours: about the connection, a right, and a lock not had."""
    with translated(
        f"tenant {tenant!r} can not be provisioned",
        hint="the admin login needs CREATEROLE and, on the database, CREATE",
    ):
        try:
            yield
        except asyncpg.PostgresError as error:
            if error.sqlstate in _NOT_IN_TIME:
                raise LockNotHad(
                    f"tenant {tenant!r} can not be provisioned now: {error}",
                    hint="somebody else holds its tables, or provisions it",
                ) from error
            raise
