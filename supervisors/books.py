"""Keeps the control schema's books on a tenant: its use, which limits are near, its pauses."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import anyio
import structlog

from orchestrator.engine.engine import Engine
from orchestrator.engine.pulse import Pulse
from orchestrator.model.errors import Unavailable
from orchestrator.model.usage import Near
from orchestrator.quota.alerts import OF_ALL, nearly_used, raised
from orchestrator.store.connect import DRIVER_ERRORS
from orchestrator.store.control import pauses, usage
from orchestrator.store.control.usage import Owner
from orchestrator.store.tenant.runs import Pause
from orchestrator.store.tenant.usage import HourUsed, OwnedUsage
from supervisors.ground import Ground

TELL_SECONDS = 60.0
"""How late the control schema may be about a tenant that is awake."""

SETTLE_SECONDS = 2.0
RETRY_SECONDS = 5.0
FOLD = 5_000
TELL = 500
KEPT_HERE = timedelta(days=7)
"""How long the tenant's schema keeps the hours that the control schema has as well."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose books they are, and under which epoch it is served."""

    tenant: str
    registration: UUID
    epoch: int


class Books:
    """Of one tenant and incarnation.

    What is told is what the tenant's schema counts, hour by hour, and never a difference: told
    twice it counts once, and what a crash kept from being told the next owner tells.
    """

    def __init__(
        self,
        whose: Whose,
        ground: Ground,
        engine: Engine,
        counts: OwnedUsage,
        paused: Sequence[Pause],
    ) -> None:
        self._whose = whose
        self._owner = Owner(whose.epoch, ground.node)
        self._ground = ground
        self._engine = engine
        self._counts = counts
        self._told_at = -1  # of the engine's flushes; once in any case, for an owner that died
        self._warned: dict[str, datetime] = {}
        self._accepted: dict[str, int] = {}  # as the database has counted, a minute ago at most
        self._news = Pulse()
        self._paused = paused  # as it was told last
        self._pauses_changed = Pulse()

    async def run(self) -> None:
        """Keep the books for ever; ends by cancellation."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._tell_for_ever)
            group.start_soon(self._tell_pauses_for_ever)
            await self._warn_for_ever()

    def look(self) -> None:
        """See what is to be told now: a limit that is nearly used up, a pause."""
        if self._near():
            self._news.beat()
        if self._engine.pauses != self._paused:
            self._pauses_changed.beat()

    async def settle(self) -> None:
        """Tell what was not told yet, if the control database answers soon: the tenant stops."""
        with anyio.move_on_after(SETTLE_SECONDS):
            await self._tell_news()
            await self._recount()
            if near := self._near():
                await self._warn(near)

    # -- what was used -----------------------------------------------------------------

    async def _tell_for_ever(self) -> None:
        while True:
            await anyio.sleep(TELL_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311 - no secret
            await self._tell_news()
            await self._recount()
            self.look()

    async def _tell_news(self) -> None:
        flushes = self._engine.flushes
        if flushes == self._told_at or self._ground.standing.outage is not None:
            return
        while await self._counts.fold(FOLD) == FOLD:
            pass
        while rows := await self._counts.untold(TELL):
            if not await self._told(rows):
                return
            await self._counts.mark(rows, keep_from=self._engine.now - KEPT_HERE)
        self._told_at = flushes

    async def _told(self, rows: list[HourUsed]) -> bool:
        try:
            async with self._ground.control.acquire() as control:
                noted = await usage.tell(
                    control, self._whose.tenant, self._whose.registration, rows, self._owner
                )
        except (Unavailable, *DRIVER_ERRORS) as error:
            # The next round tells it, or the next owner.
            log.warning("usage.not_told", error=str(error))
            return False
        return noted

    # -- what is paused ----------------------------------------------------------------

    async def _tell_pauses_for_ever(self) -> None:
        while True:
            paused = self._engine.pauses
            if paused == self._paused:
                await self._pauses_changed.wait()
            elif not await self._tell_pauses(paused):
                await anyio.sleep(RETRY_SECONDS)

    async def _tell_pauses(self, paused: Sequence[Pause]) -> bool:
        try:
            async with self._ground.control.acquire() as control:
                await pauses.tell(
                    control, self._whose.tenant, self._ground.node, self._whose.epoch, paused
                )
        except (Unavailable, *DRIVER_ERRORS) as error:
            log.warning("pauses.not_told", error=str(error))
            return False
        self._paused = paused
        return True

    # -- what is nearly used up --------------------------------------------------------

    async def _warn_for_ever(self) -> None:
        while True:
            near = self._near()
            if not near:
                await self._news.wait()
            elif not await self._warn(near):
                await anyio.sleep(RETRY_SECONDS)

    async def _recount(self) -> None:
        """Ask the database how many runs were accepted: the engine has not seen those from SQL."""
        limited = any(each.quota in OF_ALL for each in self._engine.levels)
        known = limited and self._ground.standing.outage is None
        self._accepted = await self._counts.accepted() if known else {}

    def _near(self) -> list[Near]:
        levels = raised(self._engine.levels, self._accepted)
        near = nearly_used(levels, self._ground.alert_percent, self._engine.now)
        return [each for each in near if self._warned.get(each.quota) != each.since]

    async def _warn(self, near: list[Near]) -> bool:
        """Note what is near its end, and tell of what nobody, here or elsewhere, told before."""
        try:
            async with self._ground.control.acquire() as control:
                new = await usage.alert(control, self._whose.registration, near)
        except (Unavailable, *DRIVER_ERRORS) as error:
            log.warning("quota.alert_not_noted", error=str(error))
            return False
        self._warned.update({each.quota: each.since for each in near})
        for each in near:
            if each.quota in new:
                log.warning(
                    "quota.nearly_used",
                    quota=each.quota,
                    used=each.used,
                    limit=each.allowed,
                    since=each.since.isoformat(),
                )
        return True
