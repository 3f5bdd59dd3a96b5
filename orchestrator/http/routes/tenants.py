"""Tenants."""

from __future__ import annotations

from typing import Any

from litestar import Request, get, post
from litestar.params import FromPath, RawBody

from orchestrator.http import body as bodies
from orchestrator.http.audit import Record, Recorded
from orchestrator.http.injected import Injected
from orchestrator.http.meant import meant
from orchestrator.http.openapi import problems, takes
from orchestrator.http.peer import holder_of
from orchestrator.http.services import Services
from orchestrator.model.api import (
    CreateTenant,
    PauseView,
    SetPause,
    TenantList,
    TenantView,
    TenantWhy,
)
from orchestrator.model.fit import fit


@get("/v1/tenants", tags=["tenants"], responses=problems(401))
async def list_tenants(request: Request[Any, Any, Any], services: Injected) -> TenantList:
    """List all tenants, by id. A tenant's token sees its own."""
    holder, found = holder_of(request), await services.platform.listed()
    if holder is not None and holder.tenant is not None:
        found = [each for each in found if each.id == holder.tenant]
    return TenantList(tenants=found)


@post(
    "/v1/tenants",
    tags=["tenants"],
    operation_class=takes(CreateTenant),
    responses=problems(403, 409, 422, 503),
)
async def create_tenant(services: Injected, record: Recorded, body: RawBody) -> TenantView:
    """Register a tenant; its schema and roles are made at first use."""
    wanted = fit(bodies.read(body), CreateTenant)
    async with record.of(wanted.id, "tenant.create"):
        return await services.platform.create_tenant(wanted)


@get("/v1/tenants/{tenant:str}", tags=["tenants"], responses=problems(404, 422, 503))
async def show_tenant(services: Injected, tenant: FromPath[str]) -> TenantView:
    """Show everything about one tenant, by id or alias."""
    return await services.platform.read_tenant(services.platform.resolve(tenant))


@get("/v1/tenants/{tenant:str}/why", tags=["tenants"], responses=problems(404, 422, 503))
async def why_tenant(services: Injected, tenant: FromPath[str]) -> TenantWhy:
    """Say why a tenant runs or does not and when it will, with its last changes of state."""
    return await services.platform.why(meant(services, tenant))


@post(
    "/v1/tenants/{tenant:str}/provision",
    status_code=200,
    tags=["tenants"],
    responses=problems(403, 404, 409, 422, 503),
)
async def provision_tenant(
    services: Injected, record: Recorded, tenant: FromPath[str]
) -> TenantView:
    """Make the tenant's schema, roles and tables now; doing it again changes nothing."""
    known_as = services.platform.resolve(tenant)
    async with record.of(known_as, "tenant.provision"):
        return await services.platform.provision(known_as)


@post(
    "/v1/tenants/{tenant:str}/pause",
    status_code=200,
    tags=["tenants"],
    operation_class=takes(SetPause, required=False),
    responses=problems(403, 404, 422, 429, 503),
)
async def pause_tenant(
    services: Injected, record: Recorded, tenant: FromPath[str], body: RawBody
) -> PauseView:
    """Let the tenant, or one of its workflows, start no more tasks; what runs goes on."""
    return await _set_pause(services, record, tenant, body, paused=True)


@post(
    "/v1/tenants/{tenant:str}/resume",
    status_code=200,
    tags=["tenants"],
    operation_class=takes(SetPause, required=False),
    responses=problems(403, 404, 422, 429, 503),
)
async def resume_tenant(
    services: Injected, record: Recorded, tenant: FromPath[str], body: RawBody
) -> PauseView:
    """Take a pause back: the tenant's, or that of one workflow."""
    return await _set_pause(services, record, tenant, body, paused=False)


async def _set_pause(
    services: Services, record: Record, tenant: str, body: bytes, *, paused: bool
) -> PauseView:
    wanted = bodies.fit_optional(body, SetPause)
    known_as = services.platform.resolve(tenant)
    operation = "tenant.pause" if paused else "tenant.resume"
    because = f"({wanted.reason})" if wanted.reason else ""
    async with record.of(known_as, operation, f"{wanted.workflow or ''} {because}".strip()):
        await services.platform.set_pause(
            known_as, wanted.workflow, paused=paused, reason=wanted.reason
        )
    return PauseView(tenant=known_as, workflow=wanted.workflow, paused=paused)


ROUTES = (
    list_tenants,
    create_tenant,
    show_tenant,
    why_tenant,
    provision_tenant,
    pause_tenant,
    resume_tenant,
)
