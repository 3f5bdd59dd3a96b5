"""All nodes of an installation have one key; another one comes only in the place of the former."""

from __future__ import annotations

import secrets
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import pytest

from orchestrator.lifecycle.admission import admit
from orchestrator.lifecycle.keys import InstallationKey
from orchestrator.model.errors import InstallationKeyDiffers
from orchestrator.store.connect import Connection
from orchestrator.store.control import nodes
from tests.support.database import Database

MINUTE = timedelta(minutes=1)


def new_key() -> InstallationKey:
    """Return a key of another installation."""
    return InstallationKey(secrets.token_bytes(32))


@pytest.fixture
async def admin(database: Database) -> Connection:
    """Return a connection to an installation whose first node, `a`, has been let in."""
    connection = await database.connect()
    await admit(connection, database.key, node="a")
    return connection


async def in_force(admin: Connection) -> str:
    found: str = await admin.fetchval("SELECT key FROM insula.installation")
    return found


async def living(admin: Connection, name: str) -> UUID:
    """Return the id of a node of that name which lives."""
    node = uuid4()
    await nodes.register(admin, node, name, MINUTE)
    return node


async def test_the_first_node_gives_the_key_and_others_have_the_same(
    database: Database, admin: Connection
) -> None:
    await living(admin, "a")
    await admit(admin, database.key, node="b")

    assert await in_force(admin) == database.key.wraps_as


async def test_a_node_with_another_key_is_refused_and_told_what_differs(
    database: Database, admin: Connection
) -> None:
    other = new_key()

    with pytest.raises(InstallationKeyDiffers) as refused:
        await admit(admin, other, node="b")

    for named in ("installation.key", other.wraps_as[:8], database.key.wraps_as[:8]):
        assert named in str(refused.value)
    assert "copy installation.key of a node that serves" in refused.value.hint
    assert await in_force(admin) == database.key.wraps_as


async def test_a_new_key_with_the_former_beside_it_takes_over_for_good(
    database: Database, admin: Connection
) -> None:
    fresh = InstallationKey(bytes(32), former=database.key)

    await admit(admin, fresh, node="a")

    await admit(admin, InstallationKey(bytes(32)), node="b")
    with pytest.raises(InstallationKeyDiffers):
        await admit(admin, database.key, node="a")


async def test_no_key_is_replaced_while_another_node_serves_with_it(
    database: Database, admin: Connection
) -> None:
    fresh = InstallationKey(bytes(32), former=database.key)
    await living(admin, "a")
    other = await living(admin, "b")

    with pytest.raises(InstallationKeyDiffers, match="with the former one: 'b'"):
        await admit(admin, fresh, node="a")
    assert await in_force(admin) == database.key.wraps_as
    await nodes.leave(admin, other)
    await admit(admin, fresh, node="a")


async def test_a_node_that_was_silent_does_not_come_back_with_the_former_key(
    database: Database, admin: Connection
) -> None:
    silent = uuid4()
    await nodes.register(admin, silent, "b", -MINUTE)

    await admit(admin, InstallationKey(bytes(32), former=database.key), node="a")

    assert not await nodes.renew(admin, silent, MINUTE)


async def test_of_two_first_nodes_at_once_one_gives_the_key(database: Database) -> None:
    refused: list[InstallationKeyDiffers] = []

    async def starts(name: str) -> None:
        try:
            await admit(await database.connect(), new_key(), node=name)
        except InstallationKeyDiffers as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        for name in ("a", "b", "c"):
            group.start_soon(starts, name)

    assert len(refused) == 2


async def test_in_the_place_of_a_key_that_is_said_to_be_lost_comes_another(
    database: Database, admin: Connection, tmp_path: Path
) -> None:
    (tmp_path / "installation.key.former").touch()
    other = InstallationKey.load_or_create(tmp_path, environ={})
    await living(admin, "b")
    with pytest.raises(InstallationKeyDiffers, match="with the former one: 'b'"):
        await admit(admin, other, node="a")
    await admin.execute("DELETE FROM insula.node")

    await admit(admin, other, node="a")

    assert await in_force(admin) == other.wraps_as
    with pytest.raises(InstallationKeyDiffers):
        await admit(admin, database.key, node="b")
