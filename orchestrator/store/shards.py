"""Where tenants' tables are: beside the control schema, or on a shard; the one place that knows.

With one database a tenant's tables are reached over the control connections, at no cost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Protocol, Self
from uuid import UUID

import anyio
import msgspec

from orchestrator.model.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    InvalidRequest,
    LockNotHad,
)
from orchestrator.model.ids import CONTROL_SHARD, TenantId
from orchestrator.settings.shards import ShardConfig
from orchestrator.settings.tenants import unknown_shard
from orchestrator.store.connect import (
    CLOSE_SECONDS,
    Connection,
    ControlPool,
    Target,
    connect,
    translated,
)
from orchestrator.store.control import databases, tenants
from orchestrator.store.control.shards import Owner, copy, of_tenants, prepare
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.outage import Reach
from orchestrator.store.warm import WarmConnections

AT_ONCE = 4
"""So many connections to tenants' own databases at a time, for what the API reads there."""


class Placed(Protocol):
    """A tenant and a shard: what tells in which database its tables are, or would be."""

    @property
    def id(self) -> TenantId:
        """The tenant's."""
        ...

    @property
    def shard(self) -> str:
        """The shard's name."""
        ...


class Place(msgspec.Struct, frozen=True):
    """Where a tenant's tables would be, whatever its row says, or if it has none."""

    id: TenantId
    shard: str


class Shard:
    """One further database with tenants, or a server with a database for each of them.

    `uncopied` are the rows of tenants that have changed since they were copied there; `poke` has
    whoever looks after the shard look now. `database_prefix` begins the names of databases that
    tenants have of their own.
    """

    def __init__(self, config: ShardConfig, pool: ControlPool, *, role_prefix: str) -> None:
        self.name = config.name
        self.isolation = config.isolation
        self.target = pool.target
        self.pool = pool
        self.database_prefix = f"{role_prefix}_t_"
        self.reach = Reach(f"shard {config.name!r}")
        self.uncopied: dict[TenantId, TenantRow] = {}
        self.poke: Callable[[], object] = lambda: None
        self._places = anyio.CapacityLimiter(AT_ONCE)

    @property
    def apart(self) -> bool:
        """Whether each tenant has a database of its own."""
        return self.isolation == "database"

    def target_of(self, tenant: TenantId) -> Target:
        """Return the way to the tenant's tables under the admin login."""
        if self.apart:
            return self.target.with_database(self.database_prefix + tenant)
        return self.target

    @asynccontextmanager
    async def acquire(self, tenant: TenantId) -> AsyncIterator[Connection]:
        """Lend a connection to the tenant's database.

        Raises DatabaseUnavailable or DatabaseRefused with the shard's name.
        """
        with self._named():
            if not self.apart:
                async with self.pool.acquire() as connection:
                    yield connection
                return
            async with self._places, self.connected(tenant) as connection:
                yield connection

    async def make_database(self, tenant: TenantId) -> None:
        """Make the tenant's own database, if it is to have one."""
        if self.apart:
            with self._named():
                async with self.pool.acquire() as connection:
                    await databases.create(connection, self.target_of(tenant).database)

    async def drop_database(self, tenant: TenantId, *, force: bool = True) -> None:
        """Drop the tenant's own database, unless somebody is in it and it is not by `force`."""
        if self.apart:
            drop = databases.drop if force else databases.drop_unused
            with self._named():
                async with self.pool.acquire() as connection:
                    await drop(connection, self.target_of(tenant).database)

    async def rename_database(self, old: TenantId, new: TenantId) -> None:
        """Give the tenant's own database its name, if it has not got it yet."""
        if self.apart:
            names = [self.target_of(each).database for each in (old, new)]
            with self._named():
                async with self.pool.acquire() as connection:
                    await databases.rename(connection, *names)

    async def has_database(self, tenant: TenantId) -> bool:
        """Return whether the database that the tenant's tables are in, or would be, is there."""
        if not self.apart:
            return True
        with self._named():
            async with self.pool.acquire() as connection:
                return await databases.exists(connection, self.target_of(tenant).database)

    @contextmanager
    def _named(self) -> Iterator[None]:
        if self.reach.outage is not None:
            raise self.reach.outage.refusal()
        try:
            yield
        except LockNotHad:
            raise
        except DatabaseUnavailable as error:
            self.reach.doubt()
            raise DatabaseUnavailable(f"shard {self.name!r}: {error}", hint=error.hint) from error
        except DatabaseRefused as error:
            raise DatabaseRefused(f"shard {self.name!r}: {error}", hint=error.hint) from error

    @asynccontextmanager
    async def connected(self, tenant: TenantId) -> AsyncIterator[Connection]:
        """Connect to the tenant's database, also while the shard counts as silent."""
        target = self.target_of(tenant)
        connection = await connect(target, application_name=f"insula shard {self.name}")
        try:
            with translated("the database does not answer"):
                yield connection
        finally:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                await connection.close()


class Shards:
    """The databases of an installation. A tenant is wholly on one of them: its row says on which.

    >>> async with shards.tenant(tenant) as (row, connection):
    ...     await runs.page(connection, row.schema_name, wanted)
    """

    def __init__(self, control: ControlPool, others: Iterable[Shard] = ()) -> None:
        self.control = control
        self.warm = WarmConnections()
        self.others: Mapping[str, Shard] = {each.name: each for each in others}

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        control: ControlPool,
        configs: Iterable[ShardConfig],
        *,
        role_prefix: str,
        application_name: str,
        timeout: float,  # noqa: ASYNC109 - as in connect
    ) -> AsyncIterator[Self]:
        """Have the shards at hand; nobody connects to them before they are needed."""
        async with AsyncExitStack() as stack:
            others = []
            for config in configs:
                pool = ControlPool.open(
                    Target.parse(config.url),
                    application_name=application_name,
                    timeout=timeout,
                    at_once=False,
                )
                opened = await stack.enter_async_context(pool)
                others.append(Shard(config, opened, role_prefix=role_prefix))
            opened_all = cls(control, others)
            stack.push_async_callback(opened_all.warm.close)
            yield opened_all

    def of(self, name: str) -> Shard | None:
        """Return the shard of that name; None is the control database. DatabaseRefused else."""
        if name == CONTROL_SHARD:
            return None
        try:
            return self.others[name]
        except KeyError:
            raise DatabaseRefused(
                f"shard {name!r} is not configured on this node",
                hint=f"add [shards.{name}] to its configuration and restart it",
            ) from None

    def target_of(self, row: Placed) -> Target:
        """Return the way to the tenant's tables under the admin login."""
        shard = self.of(row.shard)
        return self.control.target if shard is None else shard.target_of(row.id)

    def check(self, name: str) -> None:
        """Raise DatabaseUnavailable while the shard of that name does not answer."""
        shard = self.of(name)
        if shard is not None and shard.reach.outage is not None:
            raise shard.reach.outage.refusal()

    def reaches(self, name: str) -> tuple[Reach, ...]:
        """Return what tells whether that database answers, beyond what tells it of the control."""
        shard = self.others.get(name)
        return () if shard is None else (shard.reach,)

    async def row(self, tenant: TenantId) -> TenantRow:
        """Return the tenant's row, which says where it is; TenantNotFound."""
        async with self.control.acquire() as connection:
            return await tenants.fetch(connection, tenant)

    @asynccontextmanager
    async def lend(self, row: Placed) -> AsyncIterator[Connection]:
        """Lend a connection to the tenant's database under the admin login."""
        shard = self.of(row.shard)
        lent = self.control.acquire() if shard is None else shard.acquire(row.id)
        async with lent as connection:
            yield connection

    @asynccontextmanager
    async def tenant(self, tenant: TenantId) -> AsyncIterator[tuple[TenantRow, Connection | None]]:
        """Lend a connection to the tenant's tables, None if they were never made, with its row.

        Whoever waits for a shard holds no connection to the control database meanwhile. Raises
        TenantNotFound, and what `lend` does.
        """
        async with self.control.acquire() as connection:
            row = await tenants.fetch(connection, tenant)
            if row.shard == CONTROL_SHARD:
                yield row, connection if row.provisioned_at is not None else None
                return
        if row.provisioned_at is None:
            yield row, None
            return
        async with self.lend(row) as connection:
            yield row, connection

    async def make_ready(self, row: Placed, installation: UUID) -> None:
        """Make the tenant's own database with its control schema, if it is to have one."""
        shard = self.of(row.shard)
        if shard is None or not shard.apart:
            return
        await shard.make_database(row.id)
        async with shard.acquire(row.id) as connection:
            await prepare(connection, Owner(installation, shard.name, shard.isolation))

    async def is_there(self, row: Placed) -> bool:
        """Return whether the database of the tenant is there: one of its own may not be."""
        shard = self.of(row.shard)
        return shard is None or await shard.has_database(row.id)

    def own_database(self, row: Placed) -> str | None:
        """Return the name of the database that the tenant has, or would have, of its own."""
        shard = self.of(row.shard)
        return shard.target_of(row.id).database if shard is not None and shard.apart else None

    async def drop_database(self, row: Placed, *, force: bool = True) -> None:
        """Drop the database that the tenant has of its own, if it has one.

        Without `force` it stays while somebody is connected to it.
        """
        shard = self.of(row.shard)
        if shard is not None:
            await shard.drop_database(row.id, force=force)

    async def tell(self, place: Placed) -> None:
        """Copy the row of a tenant to the shard of a place, where insula.submit goes by it."""
        if place.shard != CONTROL_SHARD and await is_ready(self, place):
            async with self.control.acquire() as control, self.lend(place) as server:
                await copy(server, await of_tenants(control, [place.id]))

    def known(self, name: str) -> str:
        """Return the name of a shard that is configured; InvalidRequest."""
        if name not in {CONTROL_SHARD, *self.others}:
            raise InvalidRequest(
                unknown_shard(name, self.others),
                hint="--to names another one, or control",
                data={"shard": name},
            )
        return name

    def changed(self, before: TenantRow | None, row: TenantRow) -> None:
        """Note that a row has changed: its shard has to hear of it, and the one of before."""
        for name in {row.shard, row.shard if before is None else before.shard}:
            shard = self.others.get(name)
            if shard is not None:
                shard.uncopied[row.id] = row
                shard.poke()


async def is_ready(shards: Shards, row: Placed) -> bool:
    """Return whether the database of the tenant is there with its control schema.

    One of its own gets that when it was made: a node may have died in between.
    """
    shard = shards.of(row.shard)
    if shard is None or not shard.apart:
        return True
    if not await shards.is_there(row):
        return False
    async with shards.lend(row) as connection:
        return await databases.is_ready(connection)
