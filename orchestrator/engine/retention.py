"""Deletes the finished runs that a tenant does not keep any longer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import anyio
import structlog

from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.tenant.retention import OwnedRetention

PERIOD_SECONDS = 3600.0
SWEEP_SECONDS = 60.0
BATCH = 500

log = structlog.get_logger(__name__)


class Retention:
    """Looks when its tenant wakes and then each hour. One per tenant and incarnation.

    A batch is a statement like any other of the tenant's: the others go between two of them.
    """

    def __init__(
        self,
        config: Callable[[], TenantConfig],
        rows: OwnedRetention,
        now: Callable[[], datetime],
    ) -> None:
        self._config = config
        self._rows = rows
        self._now = now

    async def run(self) -> None:
        """Delete for ever; ends by cancellation."""
        while True:
            days = self._config().limits.retention_days
            if days is not None:
                await self._delete(self._now() - timedelta(days=days))
            await anyio.sleep(PERIOD_SECONDS)

    async def sweep_cache(self) -> None:
        """Delete for ever what is over in the tenant's cache; ends by cancellation."""
        while True:
            await anyio.sleep(SWEEP_SECONDS)
            while await self._rows.sweep(BATCH) == BATCH:
                pass

    async def _delete(self, before: datetime) -> None:
        deleted = batch = await self._rows.delete(before, BATCH)
        while batch == BATCH:
            batch = await self._rows.delete(before, BATCH)
            deleted += batch
        await self._rows.delete_fires(before)
        if deleted:
            log.info("runs.deleted", count=deleted, finished_before=before.isoformat())
