"""An application that works with tenants of a test's database, without a daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

from orchestrator.application import TenantSql
from orchestrator.cache.tenant_cache import Bounds
from orchestrator.client.client import Client
from orchestrator.model.ids import TenantId
from orchestrator.model.secrets import CacheTerms, Credentials
from orchestrator.store.control import tenants
from tests.support.database import Database


class Handing:
    """The daemon that hands out logins, as the client sees it; counts how often it is asked."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.bounds = Bounds()
        self.caches_apart = False
        self.asked = 0

    def tenant(self, id: str) -> Any:
        """Return what the client has for a tenant."""

        async def credentials() -> Credentials:
            self.asked += 1
            admin = await self._database.connect()
            row = await tenants.fetch(admin, TenantId(id))
            await admin.close()
            login = self._database.spec().logins(TenantId(id), row.rotation)
            return Credentials(
                tenant=id,
                schema=f"tenant_{id}",
                url=login.as_app(self._database.target).url,
                cache=CacheTerms(
                    apart=self.caches_apart,
                    max_entries=self.bounds.entries,
                    max_bytes=self.bounds.bytes,
                ),
            )

        return SimpleNamespace(secret=SimpleNamespace(credentials=credentials))


@asynccontextmanager
async def opened(
    database: Database, *, size: int, cache_size: int = 4
) -> AsyncIterator[tuple[TenantSql, Handing]]:
    """Yield what an application has, and the daemon that it asks."""
    daemon = Handing(database)
    client = cast(Client, daemon)
    sql = TenantSql(client, size=size, cache_size=cache_size, application_name="shop")
    async with sql:
        yield sql, daemon
