"""Where tenants' tables are: beside the control schema, or on a shard; the one place that knows.

With one database a tenant's tables are reached over the control connections, at no cost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

from orchestrator.model.errors import DatabaseRefused, DatabaseUnavailable
from orchestrator.model.ids import CONTROL_SHARD, TenantId
from orchestrator.settings.shards import ShardConfig
from orchestrator.store.connect import Connection, ControlPool, Target
from orchestrator.store.control import tenants
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.outage import Reach


class Shard:
    """One further database with tenants, and whether it answers.

    `uncopied` are the tenants whose row has changed since it was copied there; `poke` has whoever
    looks after the shard look now.
    """

    def __init__(self, config: ShardConfig, pool: ControlPool) -> None:
        self.name = config.name
        self.isolation = config.isolation
        self.target = pool.target
        self.pool = pool
        self.reach = Reach(f"shard {config.name!r}")
        self.uncopied: set[TenantId] = set()
        self.poke: Callable[[], object] = lambda: None

    def check(self) -> None:
        """Raise DatabaseUnavailable while the shard does not answer."""
        if self.reach.outage is not None:
            raise DatabaseUnavailable(self.reach.outage.sentence)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Lend a connection; DatabaseUnavailable or DatabaseRefused with the shard's name."""
        self.check()
        try:
            async with self.pool.acquire() as connection:
                yield connection
        except DatabaseUnavailable as error:
            self.reach.doubt()
            raise DatabaseUnavailable(f"shard {self.name!r}: {error}", hint=error.hint) from error
        except DatabaseRefused as error:
            raise DatabaseRefused(f"shard {self.name!r}: {error}", hint=error.hint) from error


class Shards:
    """The databases of an installation. A tenant is wholly on one of them: its row says on which.

    >>> async with shards.tenant(tenant) as (row, connection):
    ...     await runs.page(connection, row.schema_name, wanted)
    """

    def __init__(self, control: ControlPool, others: Iterable[Shard] = ()) -> None:
        self.control = control
        self.others: Mapping[str, Shard] = {each.name: each for each in others}

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        control: ControlPool,
        configs: Iterable[ShardConfig],
        *,
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
                others.append(Shard(config, await stack.enter_async_context(pool)))
            yield cls(control, others)

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

    def target_of(self, row: TenantRow) -> Target:
        """Return the way to the tenant's tables under the admin login."""
        shard = self.of(row.shard)
        return self.control.target if shard is None else shard.target

    def reaches(self, name: str) -> tuple[Reach, ...]:
        """Return what tells whether that database answers, beyond what tells it of the control."""
        shard = self.others.get(name)
        return () if shard is None else (shard.reach,)

    async def row(self, tenant: TenantId) -> TenantRow:
        """Return the tenant's row, which says where it is; TenantNotFound."""
        async with self.control.acquire() as connection:
            return await tenants.fetch(connection, tenant)

    @asynccontextmanager
    async def lend(self, row: TenantRow) -> AsyncIterator[Connection]:
        """Lend a connection to the tenant's database under the admin login."""
        shard = self.of(row.shard)
        async with self.control.acquire() if shard is None else shard.acquire() as connection:
            yield connection

    @asynccontextmanager
    async def tenant(self, tenant: TenantId) -> AsyncIterator[tuple[TenantRow, Connection]]:
        """Lend a connection to the tenant's database, with its row; TenantNotFound.

        Whoever waits for a shard holds no connection to the control database meanwhile.
        """
        async with self.control.acquire() as connection:
            row = await tenants.fetch(connection, tenant)
            if row.shard == CONTROL_SHARD:
                yield row, connection
                return
        async with self.lend(row) as connection:
            yield row, connection

    def changed(self, before: TenantRow | None, row: TenantRow) -> None:
        """Note that a row has changed: its shard has to hear of it, and the one of before."""
        for name in {row.shard, row.shard if before is None else before.shard}:
            shard = self.others.get(name)
            if shard is not None:
                shard.uncopied.add(row.id)
                shard.poke()
