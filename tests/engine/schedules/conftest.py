"""A provisioned tenant whose schedules are fired by hand."""

from __future__ import annotations

import pytest

from tests.engine.schedules.bench import Bench
from tests.support.database import Database


@pytest.fixture
async def bench(database: Database) -> Bench:
    """Provision tenant acme."""
    await database.provision("acme")
    return Bench(database, await database.connect())
