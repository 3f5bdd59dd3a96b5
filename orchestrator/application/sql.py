"""SQL on the tables of tenants for application code outside runs.

    async with Client("unix:///run/insula/insula.sock") as client, TenantSql(client) as sql:
        async with sql.tenant("acme_corp").transaction() as tx:
            await tx.execute("INSERT INTO flight (carrier) VALUES ($1)", "UA")

Each connection is logged in as the one tenant's own role, so that the database itself keeps it from
all others; what a block leaves in its session is gone before the next block gets it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NoReturn, Self

import anyio

from orchestrator.client.client import Client
from orchestrator.model.ids import quote_identifier
from orchestrator.store.connect import DRIVER_ERRORS, Connection, Record, Target
from orchestrator.store.tenant.login import Login, Way
from orchestrator.store.tenant.owned import end
from orchestrator.store.tenant.places import Places
from orchestrator.workflow.context import Isolation

PATIENCE_SECONDS = 30.0
"""How long a block waits for a connection when all are in use."""

RESET_SECONDS = 5.0


class TenantConnection:
    """A connection in the hands of one block; nothing of it works when the block is left."""

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | _Left = connection

    async def fetch(self, query: str, *args: object) -> list[Record]:
        """Return all rows."""
        return await self._connection.fetch(query, *args)

    async def fetchrow(self, query: str, *args: object) -> Record | None:
        """Return the first row, or None."""
        return await self._connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the first column of the first row, or None."""
        return await self._connection.fetchval(query, *args)

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement and return its status, such as `INSERT 0 1`."""
        status: str = await self._connection.execute(query, *args)
        return status

    async def executemany(self, query: str, args: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each set of arguments, all or nothing."""
        await self._connection.executemany(query, args)

    async def copy_records(
        self, table: str, *, records: Iterable[Sequence[object]], columns: Sequence[str]
    ) -> str:
        """COPY `records` into `table` and return the status."""
        status: str = await self._connection.copy_records_to_table(
            table, records=records, columns=list(columns)
        )
        return status

    @asynccontextmanager
    async def transaction(self, *, isolation: Isolation = "read committed") -> AsyncIterator[Self]:
        """Begin a transaction, or a savepoint within one; rolls back when the body raises."""
        level: Any = isolation.replace(" ", "_")
        async with self._connection.transaction(isolation=level):
            yield self

    def leave(self) -> None:
        """Let nothing more through."""
        self._connection = _Left()


class _Left:
    """In place of a connection whose block was left."""

    def __getattr__(self, call: str) -> NoReturn:
        raise RuntimeError(f"{call}: the block that this connection was for has been left")


class TenantTables:
    """One tenant's tables; `TenantSql.tenant` makes it."""

    def __init__(self, pool: TenantSql, tenant: str) -> None:
        self._pool = pool
        self._tenant = tenant

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
    password that was rotated since is asked for again.
    """

    def __init__(
        self, client: Client, *, size: int = 10, application_name: str = "insula application"
    ) -> None:
        self._client = client
        self._size = size
        self._name = application_name
        self._places = Places(size, what="connections of the application")
        self._logins: dict[str, Login] = {}
        self._asking = anyio.Lock()
        self._resting: OrderedDict[Connection, str] = OrderedDict()

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
        while self._resting:
            await end(self._resting.popitem()[0])

    @asynccontextmanager
    async def lend(self, tenant: str) -> AsyncIterator[Connection]:
        """Yield a connection of a tenant's that nobody else has; DatabaseUnavailable."""
        place = await self._places.take(f"tenant {tenant!r}", seconds=PATIENCE_SECONDS)
        try:
            connection = await self._connection(tenant)
            try:
                yield connection
            finally:
                with anyio.CancelScope(shield=True):
                    await self._take_back(connection, tenant)
        finally:
            place.give_back()

    async def _connection(self, tenant: str) -> Connection:
        for connection in [each for each, of in self._resting.items() if of == tenant]:
            del self._resting[connection]
            if not connection.is_closed():
                return connection
        # Those in use have places of their own, so only what rests can be too much.
        while self._resting and len(self._resting) + self._places.used > self._size:
            await end(self._resting.popitem(last=False)[0])
        async with self._asking:  # one at a time, so that each login is asked for once
            login = await self._login(tenant)
        return await login.connect()

    async def _take_back(self, connection: Connection, tenant: str) -> None:
        """Keep a connection without anything that was left in its session, or close it."""
        with anyio.move_on_after(RESET_SECONDS):
            try:
                await connection.reset()  # a transaction that was left open, listeners, locks
                await connection.execute("DISCARD ALL")
                await connection.reload_schema_state()  # which has taken its statements away
            except DRIVER_ERRORS:
                connection.terminate()
                return
            self._resting[connection] = tenant
            return
        connection.terminate()

    async def _login(self, tenant: str) -> Login:
        if tenant not in self._logins:
            target, schema = await self._way_in(tenant)

            async def renew(*, again: bool) -> Target:  # noqa: ARG001 - the daemon sees to it
                return (await self._way_in(tenant))[0]

            self._logins[tenant] = Login(
                Way(target, renew),
                application_name=self._name,
                settings={"search_path": f"{quote_identifier(schema)}, pg_temp"},
            )
        return self._logins[tenant]

    async def _way_in(self, tenant: str) -> tuple[Target, str]:
        found = await self._client.tenant(tenant).secret.credentials()
        return Target.parse(found.url), found.schema
