"""Tokens on real nodes: void at once wherever it was revoked, and nowhere to be read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import anyio
import pytest

from orchestrator import Client
from orchestrator.daemon.tokens import AT_ONCE, TokenRegistry
from orchestrator.model import errors
from orchestrator.model.bearer import Bearer, new_token
from orchestrator.model.ids import TenantId
from orchestrator.model.tokens import CreateToken, Holder, Role
from orchestrator.store.connect import ControlPool
from orchestrator.store.control import tenants
from tests.daemon.process import Daemon, daemon
from tests.supervisors.nodes import in_good_standing
from tests.support.database import Database
from tests.support.redis import free_port
from tests.support.wait import until

ACME = TenantId("acme")
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND datname = current_database()"
)


async def up_to_date(_: TenantId, __: UUID | None) -> None:
    """Know every tenant already."""


@asynccontextmanager
async def node(database: Database, name: str) -> AsyncIterator[TokenRegistry]:
    """Yield the registry of one node."""
    async with ControlPool.open(database.target, application_name=name) as pool:
        yield TokenRegistry(pool, in_good_standing(), up_to_date)


async def minted(
    registry: TokenRegistry, role: Role = Role.WRITE, expires: str | None = None
) -> Bearer:
    """Return a new token of acme's."""
    _, bearer = new_token()
    wanted = CreateToken(role=role, expires=expires)
    await registry.mint(bearer, ACME, wanted, by="uid 0", maker=None)
    return bearer


async def test_what_one_node_revokes_is_void_on_the_other_at_once(database: Database) -> None:
    await tenants.register(await database.connect(), ACME, "{}")
    async with node(database, "a") as a, node(database, "b") as b:
        bearer = await minted(a)
        before = await b.holder_of(bearer)
        await a.revoke(bearer.id, ACME)

        assert before == Holder(bearer.id, ACME, Role.WRITE)
        assert await b.holder_of(bearer) is None
        assert not await b.is_live(before)


async def test_a_token_lasts_as_long_as_was_said(database: Database) -> None:
    admin = await database.connect()
    await tenants.register(admin, ACME, "{}")
    async with node(database, "a") as a:
        bearer = await minted(a, expires="30d")
        (view,) = await a.listed(ACME)
        await admin.execute("UPDATE insula.token SET expires_at = clock_timestamp()")

        assert view.expires_at is not None
        assert (view.expires_at - view.created_at).days in {29, 30}
        assert await a.holder_of(bearer) is None
        for wrong in ("soon", "0s", "99999d", "-1d", ""):
            with pytest.raises(errors.InvalidRequest, match=r"\$\.expires"):
                await minted(a, expires=wrong)


async def test_strangers_leave_connections_for_those_who_work(database: Database) -> None:
    blocker, reader = await database.connect(), await database.connect()

    async def all_wait() -> bool:
        return bool(await reader.fetchval(WAITING) == AT_ONCE)

    async with (
        node(database, "a") as a,
        anyio.create_task_group() as strangers,
        blocker.transaction(),
    ):
        await blocker.execute("LOCK TABLE insula.token")
        for _ in range(10):
            strangers.start_soon(a.holder_of, new_token()[1])
        await until(all_wait)
        async with a.control.acquire() as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_without_a_database_nobody_can_tell(database: Database) -> None:
    async with node(database, "a") as a:
        a.standing.lost("no answer")

        with pytest.raises(errors.DatabaseUnavailable):
            await a.holder_of(new_token()[1])


def over_tcp(port: int, token: str) -> Client:
    return Client(f"http://127.0.0.1:{port}", token=token)


@pytest.mark.slow
async def test_a_token_opens_its_tenant_follows_it_and_is_written_nowhere(
    database: Database, state_dir: Path
) -> None:
    port = free_port()
    async with daemon(state_dir) as served:
        served.configure([], database=database, more=f'http.listen = "127.0.0.1:{port}"')
        await served.start()
        async with served.client() as operator:
            for id in ("acme", "globex"):
                await operator.create_tenant(id)
            made = await operator.tenant("acme").tokens.create("write")
            whole = await operator.tokens.create()
        async with over_tcp(port, made.token) as client:
            with pytest.raises(errors.NotAllowed):
                await client.tenant("globex").start("whoami", {})
            run = await client.tenant("acme").start("whoami", {})
            await run.result(timeout=20)
        async with over_tcp(port, whole.token) as operator:
            await operator.tenant("acme").lifecycle.rename("initech", alias=False, wait=20)
            async with over_tcp(port, made.token) as client:
                assert [each.id for each in await client.tenants()] == ["initech"]
                await operator.tenant("initech").tokens.revoke(made.view.id)
                (listed,) = await operator.tenant("initech").tokens.list()
                assert listed.last_used_at is not None
                assert [each.id for each in await operator.tokens.list()] == [whole.view.id]
                with pytest.raises(errors.Unauthenticated):
                    await client.tenants()
        await _is_written_nowhere(served, database, made.token, whole.token)


async def _is_written_nowhere(served: Daemon, database: Database, *made: str) -> None:
    admin = await database.connect()
    tables = await admin.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'insula'")
    dumped = ""
    for (table,) in tables:
        dumped += str(await admin.fetch(f"SELECT each::text FROM insula.{table} AS each"))
    assert "token.revoke" in dumped
    for token in made:
        assert token.split("_")[1] in dumped
        assert token.split("_")[2] not in dumped + served.text()
