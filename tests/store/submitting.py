"""Logins that may start runs with SQL, and the call."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from orchestrator.model.ids import TenantId
from orchestrator.quota.limits import of_submissions
from orchestrator.settings.model import Limits
from orchestrator.store.connect import Connection, Target
from orchestrator.store.control import configuration
from tests.support.database import Database

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
RUNS = "SELECT * FROM tenant_acme.wf_run ORDER BY id"


async def login(database: Database, name: str, *, grant: bool) -> Target:
    """Make a login that may start runs, if it is granted that."""
    admin = await database.connect()
    await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
    if grant:
        await allow(database, name)
    return database.target.as_role(name, "secret")


async def allow(database: Database, role: str) -> None:
    """Grant what the documentation says."""
    admin = await database.connect()
    await admin.execute(
        f"GRANT USAGE ON SCHEMA insula TO {role}; GRANT EXECUTE ON FUNCTION insula.submit TO {role}"
    )


async def limit(database: Database, **limits: Any) -> None:
    """Give acme these limits, as a reload does."""
    noted = {ACME: of_submissions(Limits(**limits))}
    await configuration.limit(await database.connect(), noted)


async def submit(connection: Connection, *arguments: Any, **named: Any) -> UUID:
    """Call insula.submit with arguments by position and by name."""
    values = [*arguments, *named.values()]
    places = [f"${n}" for n in range(1, len(arguments) + 1)]
    places += [f"{name} => ${n}" for n, name in enumerate(named, start=len(arguments) + 1)]
    run: UUID = await connection.fetchval(f"SELECT insula.submit({', '.join(places)})", *values)
    return run
