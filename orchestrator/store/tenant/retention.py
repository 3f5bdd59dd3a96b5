"""Deletes what a tenant does not keep any longer."""

from __future__ import annotations

from datetime import datetime

from orchestrator.model.ids import run_id_at
from orchestrator.store import sql
from orchestrator.store.tenant.fenced import Fenced

_QUERIES = sql.load(__name__)
DELETE = _QUERIES["delete"]
DELETE_FIRES = _QUERIES["delete_fires"]
SWEEP = _QUERIES["sweep"]


class OwnedRetention:
    """What one owner deletes of its tenant; raises as `OwnedConnection` does."""

    def __init__(self, fenced: Fenced) -> None:
        self._run, self._ours, self._epoch = fenced.run, fenced.ours, fenced.epoch
        self._delete = sql.bind(DELETE, fenced.schema)
        self._delete_fires = sql.bind(DELETE_FIRES, fenced.schema)
        self._sweep = sql.bind(SWEEP, fenced.schema)

    async def delete(self, before: datetime, limit: int) -> int:
        """Delete at most `limit` runs that finished before a moment; return how many there were."""
        first = run_id_at(before.timestamp())
        return self._ours(
            await self._run(lambda c: c.fetchval(self._delete, self._epoch, first, before, limit))
        )

    async def delete_fires(self, before: datetime) -> None:
        """Delete what is known of the fires of schedules before a moment."""
        self._ours(await self._run(lambda c: c.fetchval(self._delete_fires, self._epoch, before)))

    async def sweep(self, limit: int) -> int:
        """Delete at most `limit` values of the cache whose time is over; return how many."""
        swept: int = await self._run(lambda c: c.fetchval(self._sweep, limit))
        return swept
