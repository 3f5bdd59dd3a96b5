"""A server that asks nobody for a password: what a session may do is bounded all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.model.findings import Finding, Severity
from tests.lifecycle.test_attacks import beyond
from tests.lifecycle.test_isolation import Login, tried, two_tenants_in
from tests.support.database import Database, Databases
from tests.support.examination import findings
from tests.support.server import TRUSTING, must_let_in


@pytest.fixture
async def trusting(databases: Databases, tmp_path: Path) -> AsyncIterator[Database]:
    """Yield acme and globex in a database that asks nobody for a password."""
    async with databases.lend(TRUSTING) as database:
        await two_tenants_in(database, tmp_path)
        unknown = database.target.as_role(database.logins("acme").app, "any password")
        await must_let_in(unknown)
        yield database


@pytest.mark.requirement("T5.tenants")
async def test_every_way_out_is_closed_where_no_password_is_asked(trusting: Database) -> None:
    logins: tuple[Login, ...] = ("engine", "app")
    for login in logins:
        assert await tried(trusting, login) == []
        assert await beyond(trusting, login) == []


async def examined(database: Database) -> list[Finding]:
    """Return what is found of the server's door."""
    return [each for each in await findings(database) if each.check == "login.unasked"]


async def test_doctor_warns_of_a_server_that_asks_for_no_password(trusting: Database) -> None:
    (finding,) = await examined(trusting)

    assert finding.severity is Severity.WARNING
    assert finding.what.startswith(f"it lets {trusting.logins('acme').app} in with any password")
    assert "scram-sha-256" in finding.mend


async def test_doctor_finds_nothing_where_passwords_are_asked(database: Database) -> None:
    await database.provision("acme")

    assert await examined(database) == []
