"""Schedules of a tenant."""

from __future__ import annotations

from litestar import get, post
from litestar.params import FromPath

from orchestrator.http.audit import Recorded
from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems
from orchestrator.model.api import ScheduleList, ScheduleView, Started


@get("/v1/tenants/{tenant:str}/schedules", tags=["schedules"], responses=problems(404, 422, 503))
async def list_schedules(services: Injected, tenant: FromPath[str]) -> ScheduleList:
    """List the schedules, by name: as declared, with the next fire and what became of the last."""
    found = await services.schedules.read(services.platform.resolve(tenant))
    return ScheduleList(schedules=found)


@post(
    "/v1/tenants/{tenant:str}/schedules/{name:str}/pause",
    status_code=200,
    tags=["schedules"],
    responses=problems(403, 404, 422, 429, 503),
)
async def pause_schedule(
    services: Injected, record: Recorded, tenant: FromPath[str], name: FromPath[str]
) -> ScheduleView:
    """Let a schedule start nothing until it is resumed; what passes meanwhile is not caught up."""
    known_as = services.platform.resolve(tenant)
    async with record.of(known_as, "schedule.pause", name):
        return await services.schedules.pause(known_as, name, paused=True)


@post(
    "/v1/tenants/{tenant:str}/schedules/{name:str}/resume",
    status_code=200,
    tags=["schedules"],
    responses=problems(403, 404, 422, 429, 503),
)
async def resume_schedule(
    services: Injected, record: Recorded, tenant: FromPath[str], name: FromPath[str]
) -> ScheduleView:
    """Let a schedule go on from now."""
    known_as = services.platform.resolve(tenant)
    async with record.of(known_as, "schedule.resume", name):
        return await services.schedules.pause(known_as, name, paused=False)


@post(
    "/v1/tenants/{tenant:str}/schedules/{name:str}/fire",
    tags=["schedules"],
    responses=problems(403, 404, 422, 429, 503),
)
async def fire_schedule(
    services: Injected, record: Recorded, tenant: FromPath[str], name: FromPath[str]
) -> Started:
    """Start a run of a schedule now, also while it is paused or an earlier run goes on."""
    known_as = services.platform.resolve(tenant)
    async with record.of(known_as, "schedule.fire", name):
        return await services.schedules.fire(known_as, name)


ROUTES = (list_schedules, pause_schedule, resume_schedule, fire_schedule)
