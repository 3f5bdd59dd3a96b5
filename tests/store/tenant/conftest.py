"""A provisioned tenant for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.store.tenant.acme import Acme
from tests.support.database import Database


@pytest.fixture
async def acme(database: Database) -> AsyncIterator[Acme]:
    """Provision tenant acme, and close what the test left open."""
    await database.provision("acme")
    tenant = Acme(database, await database.connect())
    yield tenant
    for connection in tenant.opened:
        connection.terminate()
