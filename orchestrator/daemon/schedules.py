"""What the API can do to schedules: read them without waking anybody, and pause or fire them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.daemon.platform import of_tenant
from orchestrator.engine.schedules import ScheduleVerb, not_found
from orchestrator.model.api import FireView, ScheduleView, Started
from orchestrator.model.ids import TenantId, schema_of
from orchestrator.settings.schedule import next_fire, starts_at
from orchestrator.settings.schedules import TenantSchedule
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.control import schedules as declared
from orchestrator.store.shards import Shards
from orchestrator.store.tenant import schedules as stored
from orchestrator.store.tenant.schedules import Seen
from supervisors.root import RootSupervisor


@dataclass(frozen=True)
class TenantSchedules:
    """The schedules of every tenant: what is declared, with what the tenant's tables say of it."""

    root: RootSupervisor
    shards: Shards

    async def read(self, tenant: TenantId) -> list[ScheduleView]:
        """Return the tenant's schedules, by name."""
        config = self.root.slot(tenant).config
        async with of_tenant(self.root, self.shards, tenant) as connection:
            rows = [] if connection is None else await stored.seen(connection, schema_of(tenant))
        async with self.shards.control.acquire() as control:
            now = await declared.now(control)
        seen = {row.name: row for row in rows}
        return [_view(config, each, seen.get(each.name), now) for each in config.schedules]

    async def pause(self, tenant: TenantId, name: str, *, paused: bool) -> ScheduleView:
        """Pause a schedule, or let it go on from now; ScheduleNotFound."""
        verb = ScheduleVerb.PAUSE if paused else ScheduleVerb.RESUME
        await self._change(tenant, name, verb)
        return next(view for view in await self.read(tenant) if view.name == name)

    async def fire(self, tenant: TenantId, name: str) -> Started:
        """Start a run of a schedule now, whatever its times and its overlap; ScheduleNotFound."""
        (started,) = await self._change(tenant, name, ScheduleVerb.FIRE)
        return started

    async def _change(self, tenant: TenantId, name: str, verb: ScheduleVerb) -> list[Started]:
        config = self.root.slot(tenant).config
        # Nobody is woken for a name that is not declared.
        if name not in {each.name for each in config.schedules}:
            raise not_found(config, name)
        return await self.root.change_schedule(tenant, name, verb)


def _view(
    config: TenantConfig, schedule: TenantSchedule, seen: Seen | None, now: datetime
) -> ScheduleView:
    paused = seen is not None and seen.paused
    due = None
    if config.enabled and not paused:
        dealt_with = [moment for moment in (schedule.since, seen and seen.last_fire_at) if moment]
        due = _next(schedule, max(dealt_with, default=now), now)
    return ScheduleView(
        name=schedule.name,
        workflow=schedule.timing.workflow,
        spec=schedule.spec,
        paused=paused,
        next_fire_at=due,
        last_fire=None if seen is None else _fire(seen),
    )


def _next(schedule: TenantSchedule, last: datetime, now: datetime) -> datetime | None:
    """Return the next fire whose run is still to start."""
    timing = schedule.timing
    fire = next_fire(timing, last)
    if fire is not None and starts_at(timing, fire) <= now:
        fire = next_fire(timing, now)
    return fire


def _fire(seen: Seen) -> FireView | None:
    if seen.fire_at is None or seen.fired_at is None:
        return None
    return FireView(
        fire_at=seen.fire_at,
        outcome=seen.outcome or "",
        reason=seen.reason or "",
        run=seen.run_id,
        at=seen.fired_at,
    )
