"""The part of the small platform that has schedules."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from orchestrator.model import errors
from orchestrator.model.api import FireView, ScheduleView, Started
from orchestrator.model.ids import TenantId, new_run_id
from orchestrator.model.states import RunState

NEXT = datetime(2026, 1, 2, 3, tzinfo=UTC)


class HandMadeSchedules:
    """One schedule of one tenant; each fire by hand is a run."""

    def __init__(self) -> None:
        self.view = ScheduleView(
            name="nightly",
            workflow="quick",
            spec={"workflow": "quick", "cron": "0 3 * * *", "timezone": "Europe/Berlin"},
            next_fire_at=NEXT,
        )

    async def read(self, tenant: TenantId) -> list[ScheduleView]:
        return [self.view] if tenant == "acme_corp" else []

    async def pause(self, tenant: TenantId, name: str, *, paused: bool) -> ScheduleView:
        self._find(tenant, name)
        due = None if paused else NEXT
        self.view = msgspec.structs.replace(self.view, paused=paused, next_fire_at=due)
        return self.view

    async def fire(self, tenant: TenantId, name: str) -> Started:
        self._find(tenant, name)
        run, now = new_run_id(), datetime.now(UTC)
        fire = FireView(fire_at=now, outcome="started", reason="by hand", run=run, at=now)
        self.view = msgspec.structs.replace(self.view, last_fire=fire)
        return Started(id=run, state=RunState.QUEUED)

    def _find(self, tenant: TenantId, name: str) -> None:
        if name != self.view.name:
            raise errors.ScheduleNotFound(tenant, f"no schedule {name!r}", hint="declared: nightly")
