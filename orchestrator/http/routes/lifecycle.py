"""The verbs that change a whole tenant."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import delete, patch, post
from litestar.params import FromPath, QueryParameter, RawBody

from orchestrator.http import body as bodies
from orchestrator.http.injected import Injected
from orchestrator.http.openapi import DisableOperation, UpdateOperation, problems
from orchestrator.model.api import DeletedTenant, DisableTenant, TenantView, UpdateTenant
from orchestrator.model.fit import fit

LONGEST_WAIT = 3600.0

Results = Annotated[
    Literal["keep", "purge"],
    QueryParameter(
        description="what becomes of its finished runs: a file on the server, or nothing"
    ),
]
Force = Annotated[bool, QueryParameter(description="unfinished runs do not keep it")]
Wait = Annotated[
    float, QueryParameter(ge=0, le=LONGEST_WAIT, description="seconds in which its runs may finish")
]


@patch(
    "/v1/tenants/{tenant:str}",
    tags=["tenants"],
    operation_class=UpdateOperation,
    responses=problems(403, 404, 409, 422, 503),
)
async def update_tenant(services: Injected, tenant: FromPath[str], body: RawBody) -> TenantView:
    """Change what a tenant that was registered at run time is declared as."""
    known_as = services.root.resolve(tenant)
    await services.lifecycle.update(known_as, fit(bodies.read(body), UpdateTenant))
    return await services.root.read_tenant(known_as)


@post(
    "/v1/tenants/{tenant:str}/disable",
    status_code=200,
    tags=["tenants"],
    operation_class=DisableOperation,
    responses=problems(403, 404, 422, 503),
)
async def disable_tenant(services: Injected, tenant: FromPath[str], body: RawBody) -> TenantView:
    """Let the tenant take no work, whatever its file says, until it is enabled."""
    known_as = services.root.resolve(tenant)
    await services.lifecycle.disable(known_as, bodies.fit_optional(body, DisableTenant).reason)
    return await services.root.read_tenant(known_as)


@post(
    "/v1/tenants/{tenant:str}/enable",
    status_code=200,
    tags=["tenants"],
    responses=problems(403, 404, 409, 422, 503),
)
async def enable_tenant(services: Injected, tenant: FromPath[str]) -> TenantView:
    """Let a tenant that was disabled work again."""
    known_as = services.root.resolve(tenant)
    await services.lifecycle.enable(known_as)
    return await services.root.read_tenant(known_as)


@delete(
    "/v1/tenants/{tenant:str}",
    status_code=200,
    tags=["tenants"],
    responses=problems(403, 404, 409, 422, 503),
)
async def delete_tenant(
    services: Injected,
    tenant: FromPath[str],
    results: Results,
    force: Force = False,
    wait: Wait = 0.0,
) -> DeletedTenant:
    """Drop a tenant with all its data. Unfinished runs keep it, unless it is forced."""
    keep = results == "keep"
    return await services.lifecycle.delete(tenant, keep=keep, force=force, wait=wait)


ROUTES = (update_tenant, disable_tenant, enable_tenant, delete_tenant)
