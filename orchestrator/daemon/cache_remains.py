"""Empties the caches that tenants have left on a server of their own, by deletion or a new name.

The verbs know nothing of it: a schema that has had a cache is noted before its first value, and
whatever took the schema away, a kill in its middle included, the next look finds the note.
"""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import structlog

from orchestrator.cache.store import Stores
from orchestrator.daemon.audit import TenantAudit
from orchestrator.model.errors import CacheUnavailable, Unavailable
from orchestrator.store.connect import DRIVER_ERRORS, ControlPool
from orchestrator.store.control import caches
from orchestrator.store.control.audit import Deed
from orchestrator.store.control.caches import Remains
from supervisors.standing import Standing

SWEEP_SECONDS = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CacheRemains:
    """The looks of one node. Where two find the same cache, one empties it and writes it down."""

    control: ControlPool
    stores: Stores
    audit: TenantAudit

    async def run(self, standing: Standing) -> None:
        """Look for them, for ever; without the database or the server, at the next look."""
        while True:
            if standing.outage is None:
                try:
                    await self.sweep()
                except (CacheUnavailable, Unavailable, *DRIVER_ERRORS) as error:
                    log.warning("cache.remains_left", error=str(error))
            await anyio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Empty all of them; CacheUnavailable leaves the rest noted."""
        async with self.control.acquire() as connection:
            found = await caches.remaining(connection)
        for remains in found:
            await self._empty(remains)

    async def _empty(self, remains: Remains) -> None:
        store = self.stores.store(remains.tenant, str(remains.schema_number))
        # Forgotten first: whoever opens it again, as a tenant that gets its old name back, waits
        # until it is empty, and an end on the way leaves it noted.
        async with self.control.acquire() as connection, connection.transaction():
            if not await caches.forget(connection, remains):
                return
            values = await store.clear("")
            deed = Deed(remains.tenant, "insula", "cache.purge", f"{values} values")
            await self.audit.note(connection, deed)
        log.info("cache.purged", tenant=remains.tenant, values=values)
