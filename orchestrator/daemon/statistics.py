"""Tenants in figures: one of them as it is now, all of them as they were last read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import anyio
import msgspec

from orchestrator.daemon.errands import Errands
from orchestrator.daemon.overview import overview
from orchestrator.daemon.tenants import Tenants
from orchestrator.model.api import TenantSummary
from orchestrator.model.figures import FiguresOrder, InstallationFigures, TenantFigures
from orchestrator.model.ids import TenantId
from orchestrator.store.control import figures
from orchestrator.store.control.figures import Taken
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.tenant import statistics
from supervisors.refusals import database_away
from supervisors.standing import Standing

READ_SECONDS = 10.0
COUNT_SECONDS = 300.0
"""How long to read, and how long when all rows are counted."""


@dataclass(frozen=True)
class TenantStatistics:
    """Reads the figures of one tenant at a time, and keeps them for the list of all."""

    tenants: Tenants
    errands: Errands
    summaries: Callable[[], list[TenantSummary]]
    standing: Standing
    _counting: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))
    """One counts rows at a time, for minutes maybe: the other place is for who only looks."""

    async def read(
        self, tenant: TenantId, *, exact: bool, taken: Taken | None = None
    ) -> TenantFigures:
        """Return the tenant in figures; one that was never used has hardly any.

        It may have been `taken` for this, since what is kept of it is due.
        """
        row, began = await self.errands.shards.row(tenant), anyio.current_time()
        found = TenantFigures(tenant=tenant)
        if row.provisioned_at is not None:
            async with self._counting if exact else nullcontext():
                found = await self._read(row, exact=exact)
            async with self.tenants.control.acquire() as connection:
                age = anyio.current_time() - began
                await figures.store(connection, row, found, age=age, taken=taken)
        return msgspec.structs.replace(found, last_active_at=row.last_active_at)

    async def _read(self, row: TenantRow, *, exact: bool) -> TenantFigures:
        logins = self.tenants.spec.logins(row.id)
        async with self.errands.connection("statistics", row, lock_timeout="500ms") as connection:
            return await statistics.read(
                connection,
                row.id,
                [logins.engine, logins.app],
                seconds=COUNT_SECONDS if exact else READ_SECONDS,
                exact=exact,
            )

    async def overview(self, *, order: FiguresOrder, limit: int | None) -> InstallationFigures:
        """Return all tenants as they were last read, in one look at the control database.

        DatabaseUnavailable at once while that is known to be silent.
        """
        if self.standing.outage is not None:
            raise database_away(self.standing.outage)
        async with self.tenants.control.acquire() as connection:
            kept = await figures.fetch_all(connection)
        return overview(self.summaries(), kept, order=order, limit=limit)
