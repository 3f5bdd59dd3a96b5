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
        return await keys.own(await self.connect(), TenantId(tenant), self.key)

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
    """Lends the same database to one test after the other, as new each time.

    To empty one and to migrate it again takes a quarter of the time of a copy.
    """

    def __init__(self, server: Target) -> None:
        self._server = server
        self._name: str | None = None

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Database]:
        """Yield a database with a control schema; what the test made of it is undone at the end."""
        token = secrets.token_hex(3)
        target = self._server.with_database(await self._made())
        connection = await connect.connect(target, application_name=_NAME)
        await migrate.migrate_control(connection)
        # Each time another installation, so that roles of two tests are strangers to each other.
        installation = await connection.fetchval("SELECT id FROM insula.installation")
        await connection.close()
        database = Database(target, f"t{token}", installation)
        try:
            yield database
        finally:
            await database.close()
            connection = await connect.connect(target, application_name=_NAME)
            await _empty(connection, f"t{token}_")
            await connection.close()

    @asynccontextmanager
    async def lend_empty(self) -> AsyncIterator[Target]:
        """Yield a database with nothing in it. Roles stay: they are the server's."""
        target = self._server.with_database(await self._made())
        try:
            yield target
        finally:
            connection = await connect.connect(target, application_name=_NAME)
            await _empty(connection)
            await connection.close()

    async def drop(self) -> None:
        """Leave nothing on a server that outlives the session."""
        if self._name is not None:
            admin = await connect.connect(self._server, application_name=_NAME)
            await admin.execute(f'DROP DATABASE "{self._name}" WITH (FORCE)')
            await admin.close()

    async def _made(self) -> str:
        if self._name is None:
            name = f"insula_test_{secrets.token_hex(3)}"
            admin = await connect.connect(self._server, application_name=_NAME)
            await admin.execute(f'CREATE DATABASE "{name}"')
            await admin.close()
            self._name = name
        return self._name


async def _empty(connection: Connection, roles: str | None = None) -> None:
    """Make the database what CREATE DATABASE makes, and drop the roles of a prefix."""
    await connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    triggers = await connection.fetch("SELECT quote_ident(evtname) FROM pg_event_trigger")
    for (trigger,) in triggers:
        await connection.execute(f"DROP EVENT TRIGGER {trigger}")
    schemas = await connection.fetch(
        "SELECT quote_ident(nspname) FROM pg_namespace"
        " WHERE NOT starts_with(nspname, 'pg_') AND nspname <> 'information_schema'"
    )
    for (schema,) in schemas:
        await connection.execute(f"DROP SCHEMA {schema} CASCADE")
    for (role,) in await connection.fetch(
        "SELECT quote_ident(rolname) FROM pg_roles WHERE rolname ^@ $1", roles
    ):
        await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    name = await connection.fetchval("SELECT quote_ident(current_database())")
    await connection.execute(f"""
        SELECT lo_unlink(oid) FROM pg_largeobject_metadata;
        ALTER DATABASE {name} RESET ALL;
        GRANT CONNECT, TEMPORARY ON DATABASE {name} TO PUBLIC;
        CREATE SCHEMA public AUTHORIZATION pg_database_owner;
        GRANT USAGE ON SCHEMA public TO PUBLIC;
    """)


def migrations(directory: Path, **files: str) -> tuple[Migration, ...]:
    """Write application migrations, `create_flight="CREATE …"`, in their order, and read them.

    The numbers continue those of the files that are there already.
    """
    directory.mkdir(exist_ok=True)
    there = len([file for file in directory.iterdir() if re.match(r"\d{4}_", file.name)])
    for number, (name, text) in enumerate(files.items(), start=there + 1):
        (directory / f"{number:04}_{name}.sql").write_text(text, encoding="utf-8")
    return migrate.read_migrations(directory)
