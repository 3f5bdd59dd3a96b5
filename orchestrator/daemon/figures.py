"""Keeps tenants' figures from growing old, at a small share of the database's time."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
import structlog

from orchestrator.daemon.statistics import TenantStatistics
from orchestrator.model.errors import InsulaError
from orchestrator.store.connect import DRIVER_ERRORS, ControlPool
from orchestrator.store.control import figures
from orchestrator.store.control.figures import Taken
from supervisors.standing import Standing

LOOK_SECONDS = 15.0
"""How often a node looks for tenants that were used since they were read."""

READ_AT_ONCE = 50
"""So many tenants at most are read in one go, one after the other."""

SHARE = 0.05
"""So much of the time, at most, the node reads, and with one connection."""

TAKEN_SECONDS = 300.0
"""When another node tries a tenant whose reading came to no end here."""

log = structlog.get_logger(__name__)


def pause_after(seconds: float) -> float:
    """Return how long to rest after so many seconds of reading.

    >>> pause_after(0.2), pause_after(10.0)
    (15.0, 190.0)
    """
    return max(LOOK_SECONDS, round(seconds * (1 / SHARE - 1), 3))


@dataclass(frozen=True)
class FiguresReader:
    """Reads the tenants whose figures are due: of those that sleep, nobody is asked anything."""

    statistics: TenantStatistics
    control: ControlPool

    async def watch(self, standing: Standing) -> None:
        """Read again and again, for ever."""
        pause = LOOK_SECONDS
        while True:
            await anyio.sleep(pause)
            began = anyio.current_time()
            if standing.outage is None:
                try:
                    await self.read_due()
                except (InsulaError, *DRIVER_ERRORS) as error:
                    # The keeper tells of the outage; what is due stays so.
                    log.warning("tenants.figures_not_read", error=str(error))
            pause = pause_after(anyio.current_time() - began)

    async def read_due(self) -> int:
        """Read the tenants that are due, those that wait for longest first; return how many."""
        for count in range(READ_AT_ONCE):
            async with self.control.acquire() as connection:
                taken = await figures.take(connection, TAKEN_SECONDS)
            if taken is None:
                return count
            await self._read(taken)
        return READ_AT_ONCE

    async def _read(self, taken: Taken) -> None:
        try:
            await self.statistics.read(taken.tenant, exact=False, taken=taken)
        except (InsulaError, *DRIVER_ERRORS) as error:
            # One that can not be read, as on a shard that is down, keeps nobody else from it.
            log.warning("tenant.figures_not_read", tenant=taken.tenant, error=str(error))
