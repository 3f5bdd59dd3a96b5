"""A database of its own for each test, copied from a migrated template."""

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
from orchestrator.store.control import tenants
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


async def make_template(server: Target, name: str) -> None:
    """Make the database that every test's is copied from."""
    admin = await connect.connect(server, application_name=_NAME)
    await admin.execute(f'CREATE DATABASE "{name}"')
    template = await connect.connect(server.with_database(name), application_name=_NAME)
    await migrate.migrate_control(template)
    await template.close()
    await admin.close()


async def drop_template(server: Target, name: str) -> None:
    """Leave nothing on a server that outlives the session."""
    admin = await connect.connect(server, application_name=_NAME)
    await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await admin.close()


@asynccontextmanager
async def fresh_database(server: Target, template: str) -> AsyncIterator[Database]:
    """Yield a copy of the template; the copy and its roles are dropped at the end."""
    token = secrets.token_hex(3)
    name = f"insula_test_{token}"
    admin = await connect.connect(server, application_name=_NAME)
    await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        target = server.with_database(name)
        connection = await connect.connect(target, application_name=_NAME)
        # Each copy is an installation, so that roles of two tests are strangers to each other.
        installation = await connection.fetchval(
            "UPDATE insula.installation SET id = gen_random_uuid() RETURNING id"
        )
        await connection.close()
        database = Database(target, f"t{token}", installation)
        try:
            yield database
        finally:
            await database.close()
    finally:
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        roles = await admin.fetch(
            "SELECT quote_ident(rolname) FROM pg_roles WHERE starts_with(rolname, $1)", f"t{token}_"
        )
        for (role,) in roles:
            await admin.execute(f"DROP ROLE {role}")
        await admin.close()


def migrations(directory: Path, **files: str) -> tuple[Migration, ...]:
    """Write application migrations, `create_flight="CREATE …"`, in their order, and read them.

    The numbers continue those of the files that are there already.
    """
    directory.mkdir(exist_ok=True)
    there = len([file for file in directory.iterdir() if re.match(r"\d{4}_", file.name)])
    for number, (name, text) in enumerate(files.items(), start=there + 1):
        (directory / f"{number:04}_{name}.sql").write_text(text, encoding="utf-8")
    return migrate.read_migrations(directory)
