"""Connections beside the pool, under the admin login, for what is rare and may take long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from orchestrator.model.ids import CONTROL_SHARD
from orchestrator.store.connect import CLOSE_SECONDS, Connection, Target, connect, translated
from orchestrator.store.shards import Placed, Shards

AT_ONCE = 2
"""So many of a kind at a time: those who wait wait here and keep nobody from a lease."""

SETTINGS = {
    # A statement that nobody waits for any more ends soon.
    "client_connection_check_interval": "1s",
}


@dataclass
class Errands:
    """Lends a new connection for each errand of one kind."""

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
        """Connect for `what`, and close at the end; DatabaseUnavailable or DatabaseRefused.

        It leads to the database of the tenant of `row`, without one to the control database. One
        statement may take `statement_seconds`, 0 stands for no limit.
        """
        target = self._target(row)
        settings = {
            "lock_timeout": lock_timeout,
            "statement_timeout": f"{statement_seconds * 1000:.0f}",
        }
        async with self._place(), _connected(what, target, settings) as connection:
            yield connection

    @asynccontextmanager
    async def pair(
        self, what: str, row: Placed, *, lock_timeout: str
    ) -> AsyncIterator[tuple[Connection, Connection]]:
        """Connect to the registry and to the tenant's database, which may be one connection."""
        settings = {"lock_timeout": lock_timeout, "statement_timeout": "0"}
        target, control = self._target(row), self.shards.control.target
        async with self._place(), _connected(what, target, settings) as server:
            if row.shard == CONTROL_SHARD:
                yield server, server
                return
            async with _connected(what, control, settings) as registry:
                yield registry, server

    def _target(self, row: Placed | None) -> Target:
        if row is None:
            return self.shards.control.target
        self.shards.check(row.shard)
        return self.shards.target_of(row)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Hold a place; one task may have several errands under way."""
        borrower = object()
        await self._places.acquire_on_behalf_of(borrower)
        try:
            yield
        finally:
            self._places.release_on_behalf_of(borrower)


@asynccontextmanager
async def _connected(
    what: str, target: Target, settings: Mapping[str, str]
) -> AsyncIterator[Connection]:
    connection = await connect(
        target, application_name=f"insula {what}", settings={**SETTINGS, **settings}
    )
    try:
        with translated(f"{what} can not be had"):
            yield connection
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await connection.close()
        connection.terminate()
