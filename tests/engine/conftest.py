"""A tenant to run engines over."""

from __future__ import annotations

import pytest

from tests.engine.live import House
from tests.support.database import Database


@pytest.fixture
async def house(database: Database) -> House:
    """Provision tenant acme."""
    await database.provision("acme")
    return House(database, await database.connect())
