"""A database for each test, with nothing in it of the test before."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import UUID

from orchestrator.lifecycle.keys import InstallationKey
from orchestrator.lifecycle.provision import Logins, Provisioned, ProvisionSpec, provision
from orchestrator.model.errors import TenantExists
from orchestrator.model.ids import TenantId
from orchestrator.store import connect, migrate
from orchestrator.store.connect import Connection, Target
from orchestrator.store.control import keys, tenants
from orchestrator.store.control.keys import TenantKeys
from orchestrator.store.migrate import Migration

_NAME = "insula test"
_AS_NEW = "UPDATE insula.installation SET id = gen_random_uuid() RETURNING id"
_ROLES = "SELECT quote_ident(rolname) FROM pg_roles WHERE rolname ^@ $1"


class Database:
    """A fresh database with a control schema; its roles carry a prefix of their own."""

    def __init__(self, target: Target, role_prefix: str, installation: UUID) -> None:
        self.target = target
        self.role_prefix = role_prefix
        self.installation = installation
        self.key = InstallationKey(secrets.token_bytes(32))
        self._open: list[Connection] = []

    def spec(self, app_migrations: Sequence[Migration] = ()) -> ProvisionSpec:
        """Return what tenants are made from here."""
        return ProvisionSpec(
            role_prefix=self.role_prefix,
            installation=self.installation,
            key=self.key,
            app_migrations=tuple(app_migrations),
        )

    async def connect(self, target: Target | None = None) -> Connection:
        """Open a connection, by default the admin's, that is closed after the test."""
        connection = await connect.connect(target or self.target, application_name=_NAME)
        self._open.append(connection)
        return connection

    async def provision(self, tenant: str, app_migrations: Sequence[Migration] = ()) -> Provisioned:
        """Register and provision a tenant."""
        connection = await self.connect()
        with suppress(TenantExists):  # provisioned again, perhaps with other migrations
            await tenants.register(connection, TenantId(tenant), "{}")
        done = await provision(connection, TenantId(tenant), self.spec(app_migrations))
        await tenants.mark_provisioned(
            connection,
            TenantId(tenant),
            engine_version=done.engine_version,
            app_version=done.app_version,
            fingerprint=done.fingerprint,
        )
        return done

    async def keys(self, tenant: str = "acme") -> TenantKeys:
        """Return the keys of a tenant as they are now; the first time one is made."""
        connection = await self.connect()
        return await keys.own(connection, await keys.holder(connection, TenantId(tenant)), self.key)

    def logins(self, tenant: str) -> Logins:
        """Return the names of the tenant's roles."""
        return self.spec().logins(TenantId(tenant))

    def as_engine(self, tenant: str) -> Target:
        """Return the way in under the tenant's engine login."""
        return self.logins(tenant).as_engine(self.target)

    def as_app(self, tenant: str) -> Target:
        """Return the way in under the tenant's application login."""
        return self.logins(tenant).as_app(self.target)

    async def close(self) -> None:
        """Close what the test left open."""
        for connection in self._open:
            if not connection.is_closed():
                connection.terminate()


class Databases:
    """Lends each test a database of its own.

    It is a copy, file by file: to migrate one anew and to empty it took twice the time.
    """

    def __init__(self, server: Target) -> None:
        self._server = server
        self._name = f"insula_test_{secrets.token_hex(3)}"
        self._lent = 0
        self._has_template = False

    @asynccontextmanager
    async def lend(self, name: str | None = None) -> AsyncIterator[Database]:
        """Yield a database with a control schema; nothing of it is left at the end."""
        token = secrets.token_hex(3)
        if not self._has_template:
            await self._make_template()
        async with self._copy(self._name, roles=f"t{token}_", name=name) as target:
            # Each time another installation, so that roles of two tests are strangers.
            async with self._connected(target) as connection:
                installation = await connection.fetchval(_AS_NEW)
            database = Database(target, f"t{token}", installation)
            try:
                yield database
            finally:
                await database.close()

    @asynccontextmanager
    async def lend_empty(self, name: str | None = None) -> AsyncIterator[Target]:
        """Yield a database with nothing in it. Roles stay: they are the server's."""
        async with self._copy("template0", name=name) as target:
            yield target

    async def drop(self) -> None:
        """Leave nothing on a server that outlives the session."""
        async with self._connected() as admin:
            await admin.execute(f'DROP DATABASE IF EXISTS "{self._name}"')

    async def _make_template(self) -> None:
        async with self._connected() as admin:
            await admin.execute(f'CREATE DATABASE "{self._name}"')
        async with self._connected(self._server.with_database(self._name)) as connection:
            await migrate.migrate_control(connection)
        self._has_template = True

    @asynccontextmanager
    async def _copy(
        self, template: str, roles: str = "", name: str | None = None
    ) -> AsyncIterator[Target]:
        """Yield a copy, and drop it with all roles that have the prefix."""
        self._lent += 1
        name = name or f"{self._name}_{self._lent}"
        async with self._connected() as admin:
            await admin.execute(
                f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy'
            )
        try:
            yield self._server.with_database(name)
        finally:
            async with self._connected() as admin:
                await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
                for (role,) in await admin.fetch(_ROLES, roles) if roles else ():
                    await admin.execute(f"DROP ROLE {role}")

    @asynccontextmanager
    async def _connected(self, target: Target | None = None) -> AsyncIterator[Connection]:
        connection = await connect.connect(target or self._server, application_name=_NAME)
        try:
            yield connection
        finally:
            await connection.close()


def migrations(directory: Path, **files: str) -> tuple[Migration, ...]:
    """Write application migrations, `create_flight="CREATE …"`, in their order, and read them.

    The numbers continue those of the files that are there already.
    """
    directory.mkdir(exist_ok=True)
    there = len([file for file in directory.iterdir() if re.match(r"\d{4}_", file.name)])
    for number, (name, text) in enumerate(files.items(), start=there + 1):
        (directory / f"{number:04}_{name}.sql").write_text(text, encoding="utf-8")
    return migrate.read_migrations(directory)
