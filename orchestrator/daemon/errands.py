"""Connections beside the pool, under the admin login, for what is rare and may take long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import anyio

from orchestrator.model.ids import CONTROL_SHARD
from orchestrator.store.connect import Connection
from orchestrator.store.shards import Placed, Shards
from orchestrator.store.warm import Errand

AT_ONCE = 2
"""So many of a kind at a time: those who wait wait here and keep nobody from a lease."""


@dataclass
class Errands:
    """Lends a connection for each errand of one kind, as new each time."""

    shards: Shards
    _places: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(AT_ONCE))

    @asynccontextmanager
    async def connection(
        self,
        what: str,
        row: Placed | None = None,
        *,
        lock_timeout: str,
        statement_seconds: float = 0.0,
    ) -> AsyncIterator[Connection]:
        """Lend a connection for `what`; DatabaseUnavailable or DatabaseRefused.

        It leads to the database of the tenant of `row`, without one to the control database. One
        statement may take `statement_seconds`, 0 stands for no limit.
        """
        lent = self._lent(what, row, lock_timeout, round(statement_seconds * 1000))
        async with self._place(), lent as connection:
            yield connection

    @asynccontextmanager
    async def pair(
        self, what: str, row: Placed, *, lock_timeout: str
    ) -> AsyncIterator[tuple[Connection, Connection]]:
        """Lend connections to the registry and to the tenant's database, which may be one."""
        lent = self._lent(what, row, lock_timeout)
        async with self._place(), lent as server:
            if row.shard == CONTROL_SHARD:
                yield server, server
                return
            async with self._lent(what, None, lock_timeout) as registry:
                yield registry, server

    def _lent(
        self, what: str, row: Placed | None, lock_timeout: str, statement_ms: int = 0
    ) -> AbstractAsyncContextManager[Connection]:
        shards, target, keep = self.shards, self.shards.control.target, True
        if row is not None:
            shards.check(row.shard)
            shard, target = shards.of(row.shard), shards.target_of(row)
            keep = shard is None or not shard.apart
        errand = Errand(
            what=what, target=target, lock_timeout=lock_timeout, statement_ms=statement_ms
        )
        return shards.warm.lend(errand, keep=keep)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Hold a place; one task may have several errands under way."""
        borrower = object()
        await self._places.acquire_on_behalf_of(borrower)
        try:
            yield
        finally:
            self._places.release_on_behalf_of(borrower)
