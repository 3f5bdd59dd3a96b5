"""Two tenants that nobody serves, and an application that may start their runs."""

from __future__ import annotations

import pytest

from orchestrator.store.connect import Target
from tests.store.submitting import ACME, GLOBEX, login
from tests.support.database import Database


@pytest.fixture
async def acme(database: Database) -> Database:
    """Yield a database with acme and globex, which nobody serves."""
    for tenant in (ACME, GLOBEX):
        await database.provision(tenant)
    return database


@pytest.fixture
async def application(acme: Database) -> Target:
    """Return the way in of an application with the rights that the documentation names."""
    return await login(acme, f"{acme.role_prefix}_web", grant=True)
