"""SQL on the tables of tenants, and their caches, for application code outside runs.

    async with Client("unix:///run/insula/insula.sock") as client, TenantSql(client) as sql:
        async with sql.tenant("acme_corp").transaction() as tx:
            await tx.execute("INSERT INTO flight (carrier) VALUES ($1)", "UA")

Each connection is logged in as the one tenant's own role, so that the database itself keeps it from
all others; what a block leaves in its session is gone before the next block gets it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, NoReturn, Self, cast

import anyio

from orchestrator.application.cache import PooledRun, SoughtStore
from orchestrator.application.pool import Pool
from orchestrator.cache.store import Store
from orchestrator.cache.tenant_cache import Bounds, TenantCache
from orchestrator.client.client import Client
from orchestrator.model.errors import CacheUnavailable
from orchestrator.model.ids import quote_identifier
from orchestrator.model.secrets import Credentials
from orchestrator.store.connect import DRIVER_ERRORS, Connection, Target
from orchestrator.store.tenant.cache import ANSWER_SECONDS, PostgresStore
from orchestrator.store.tenant.cache import SETTINGS as CACHE_SESSION
from orchestrator.store.tenant.login import Login, Way
from orchestrator.store.tenant.statements import Statements
from orchestrator.workflow.cache import Cache
from orchestrator.workflow.context import Isolation

PATIENCE_SECONDS = 30.0
"""How long a block waits for a connection when all are in use."""

RESET_SECONDS = 5.0


class TenantConnection(Statements):
    """A connection in the hands of one block; nothing of it works when the block is left."""

    @asynccontextmanager
    async def transaction(self, *, isolation: Isolation = "read committed") -> AsyncIterator[Self]:
        """Begin a transaction, or a savepoint within one; rolls back when the body raises."""
        level: Any = isolation.replace(" ", "_")
        async with self._connection.transaction(isolation=level):
            yield self

    def leave(self) -> None:
        """Let nothing more through."""
        self._connection = cast("Connection", _Left())


class _Left:
    """In place of a connection whose block was left."""

    def __getattr__(self, call: str) -> NoReturn:
        raise RuntimeError(f"{call}: the block that this connection was for has been left")


class TenantTables:
    """One tenant's tables and cache; `TenantSql.tenant` makes it."""

    def __init__(self, pool: TenantSql, tenant: str) -> None:
        self._pool = pool
        self._tenant = tenant

    @property
    def cache(self) -> Cache:
        """The cache that the tenant's tasks have as `ctx.cache`.

        >>> await sql.tenant("acme_corp").cache.get("rate", 1.0)  # doctest: +SKIP
        """
        return self._pool.cache(self._tenant)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[TenantConnection]:
        """Yield a connection under the tenant's own login, with its schema on the search path.

        >>> async with sql.tenant("acme_corp").connection() as connection:  # doctest: +SKIP
        ...     await connection.fetch("SELECT * FROM flight")
        """
        async with self._pool.lend(self._tenant) as connection:
            lent = TenantConnection(connection)
            try:
                yield lent
            finally:
                lent.leave()

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read committed"
    ) -> AsyncIterator[TenantConnection]:
        """Yield the same in one transaction, which commits at the end of the body.

        >>> async with sql.tenant("acme_corp").transaction() as tx:  # doctest: +SKIP
        ...     await tx.execute("DELETE FROM flight")
        """
        async with (
            self.connection() as connection,
            connection.transaction(isolation=isolation),
        ):
            yield connection


class TenantSql:
    """At most `size` connections, over all tenants; those that rest stay for their tenant.

    The daemon hands out each tenant's login over its control socket, and writes that down. A
    password that was rotated since is asked for again. What caches need are up to `cache_size`
    more, so that a call within a block waits for no other block.
    """

    def __init__(
        self,
        client: Client,
        *,
        size: int = 10,
        cache_size: int = 4,
        application_name: str = "insula application",
    ) -> None:
        self._client = client
        self._name = application_name
        self._ways: dict[str, Credentials] = {}
        self._asking = anyio.Lock()
        self._logins: dict[str, Login] = {}
        self._cache_logins: dict[str, Login] = {}
        self._caches: dict[str, TenantCache] = {}
        self._blocks = Pool(
            size,
            self._connect,
            what="connections of the application",
            patience=PATIENCE_SECONDS,
            tidy=_without_remains,
        )
        self._calls = Pool(
            cache_size,
            self._connect_for_cache,
            what="connections for caches of the application",
            patience=ANSWER_SECONDS,
        )

    def tenant(self, id: str) -> TenantTables:
        """Return the tables of a tenant, by id or alias."""
        return TenantTables(self, id)

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what rests."""
        await self._blocks.close()
        await self._calls.close()

    def lend(self, tenant: str) -> AbstractAsyncContextManager[Connection]:
        """Yield a connection of a tenant's that nobody else has; DatabaseUnavailable."""
        return self._blocks.lend(tenant)

    def cache(self, tenant: str) -> TenantCache:
        """Return the one cache of a tenant: what it has counted is kept."""
        if tenant not in self._caches:

            async def seek() -> Store:
                way = await self._way(tenant)
                if way.cache.apart:
                    raise CacheUnavailable(
                        "a server of its own keeps the caches here, and only tasks get there"
                    )
                return PostgresStore(PooledRun(self._calls, tenant), way.schema)

            def bounds() -> Bounds:
                terms = self._ways[tenant].cache
                return Bounds(terms.max_entries, terms.max_bytes)

            self._caches[tenant] = TenantCache(SoughtStore(seek), bounds)
        return self._caches[tenant]

    async def _connect(self, tenant: str) -> Connection:
        if tenant not in self._logins:
            schema = (await self._way(tenant)).schema
            path = {"search_path": f"{quote_identifier(schema)}, pg_temp"}
            self._logins[tenant] = await self._login(tenant, path)
        return await self._logins[tenant].connect()

    async def _connect_for_cache(self, tenant: str) -> Connection:
        if tenant not in self._cache_logins:
            self._cache_logins[tenant] = await self._login(tenant, CACHE_SESSION)
        return await self._cache_logins[tenant].connect()

    async def _login(self, tenant: str, settings: Mapping[str, str]) -> Login:
        async def renew(*, again: bool) -> Target:  # noqa: ARG001 - the daemon tries what it hands out
            async with self._asking:
                return Target.parse((await self._ask(tenant)).url)

        target = Target.parse((await self._way(tenant)).url)
        return Login(Way(target, renew), application_name=self._name, settings=settings)

    async def _way(self, tenant: str) -> Credentials:
        async with self._asking:  # one at a time, so that each login is asked for once
            return self._ways.get(tenant) or await self._ask(tenant)

    async def _ask(self, tenant: str) -> Credentials:
        self._ways[tenant] = await self._client.tenant(tenant).secret.credentials()
        return self._ways[tenant]


async def _without_remains(connection: Connection) -> None:
    """Take away all that a block has left in a session, or close it."""
    with anyio.move_on_after(RESET_SECONDS):
        try:
            await connection.reset()  # a transaction that was left open, listeners, locks
            await connection.execute("DISCARD ALL")
            await connection.reload_schema_state()  # which has taken its statements away
        except DRIVER_ERRORS:
            connection.terminate()
        return
    connection.terminate()
