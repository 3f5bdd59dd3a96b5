"""Connections beside the pool, under the admin login, for what is rare and may take long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from orchestrator.store.connect import CLOSE_SECONDS, Connection, connect, translated
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.shards import Shards

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
        row: TenantRow | None = None,
        *,
        lock_timeout: str,
        statement_seconds: float = 0.0,
    ) -> AsyncIterator[Connection]:
        """Connect for `what`, and close at the end; DatabaseUnavailable or DatabaseRefused.

        It leads to the database of the tenant of `row`, without one to the control database. One
        statement may take `statement_seconds`, 0 stands for no limit.
        """
        target = self.shards.control.target if row is None else self.shards.target_of(row)
        async with self._places:
            connection = await connect(
                target,
                application_name=f"insula {what}",
                settings={
                    **SETTINGS,
                    "lock_timeout": lock_timeout,
                    "statement_timeout": f"{statement_seconds * 1000:.0f}",
                },
            )
            try:
                with translated(f"{what} can not be had"):
                    yield connection
            finally:
                with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                    await connection.close()
                connection.terminate()
