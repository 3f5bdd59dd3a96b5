"""Passwords that change while connections are kept: what is open goes on, what logs in learns."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.application import TenantSql
from orchestrator.client.client import Client
from orchestrator.daemon.secrets import TenantSecrets
from orchestrator.model.ids import TenantId
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.registry import Registry
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_lifecycle import lifecycle
from tests.supervisors.test_why import platform_of
from tests.support.database import Database

ACME = TenantId("acme")

asks = Workflow("asks")


@asks.task()
async def backend(ctx: Context) -> int:
    found: int = await ctx.db.fetchval("SELECT pg_backend_pid()")
    return found


REGISTRY = Registry.of([asks])


async def asked(node: Node, count: int) -> Any:
    """Run the task as the `count`th one, and return the process that served its connection."""
    run = await node.submit("acme", "asks")
    await node.until_finished("acme", count)
    return (await platform_of(node).read_run(ACME, run.id)).output


async def send_away(node: Node) -> None:
    """End all sessions of the tenant's two logins, the supervisor's and the one that is kept."""
    logins = node.database.logins("acme")
    await node.sql(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
        "WHERE usename = ANY ($1::text[])",
        [logins.engine, logins.app],
    )


def handing(node: Node) -> Client:
    """Return what an application has of a client: the logins that the daemon hands out."""
    secrets = TenantSecrets(node.ground.shards, node.tenants)

    def tenant(id: str) -> Any:
        credentials = partial(secrets.credentials, TenantId(id))
        return SimpleNamespace(secret=SimpleNamespace(credentials=credentials))

    return cast(Client, SimpleNamespace(tenant=tenant))


@pytest.mark.requirement("T6.rotated")
async def test_what_another_node_has_rotated_ends_no_session_and_is_learned_at_the_next_login(
    database: Database, tmp_path: Path
) -> None:
    async with (
        running_node(database, snapshot(["acme"]), registry=REGISTRY) as one,
        running_node(database, snapshot(["acme"]), name="b") as other,
    ):
        kept = await asked(one, 1)
        await lifecycle(other, tmp_path).rotate_credentials(ACME)
        assert await asked(one, 2) == kept

        await send_away(one)

        assert await asked(one, 3) != kept
        assert (one.slot("acme").incarnation, one.slot("acme").last_error) == (1, None)


async def test_a_password_that_is_changed_behind_our_back_ends_no_session_and_is_put_back(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"]), registry=REGISTRY) as node:
        kept = await asked(node, 1)
        logins = database.logins("acme")
        for role in (logins.engine, logins.app):
            await node.sql(f"ALTER ROLE {role} PASSWORD 'another'")
        assert await asked(node, 2) == kept

        await send_away(node)

        assert await asked(node, 3) != kept
        assert (node.slot("acme").incarnation, node.slot("acme").last_error) == (1, None)
        await (await database.connect(database.as_app("acme"))).close()


async def test_an_application_is_handed_a_login_that_opens_whatever_was_done_to_it(
    database: Database,
) -> None:
    async with (
        running_node(database, snapshot(["acme"])) as node,
        TenantSql(handing(node), size=1, application_name="shop") as sql,
    ):
        async with sql.tenant("acme").connection() as connection:
            kept = await connection.fetchval("SELECT pg_backend_pid()")
        await node.sql(f"ALTER ROLE {database.logins('acme').app} NOLOGIN PASSWORD 'another'")
        async with sql.tenant("acme").connection() as connection:
            assert await connection.fetchval("SELECT pg_backend_pid()") == kept
        await send_away(node)

        async with sql.tenant("acme").connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1
