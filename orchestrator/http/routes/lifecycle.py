"""The verbs that change a whole tenant."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from litestar import Request, Response, delete, patch, post
from litestar.params import FromPath, QueryParameter, RawBody

from orchestrator.http import body as bodies
from orchestrator.http import progress
from orchestrator.http.audit import Recorded
from orchestrator.http.injected import Injected
from orchestrator.http.meant import meant
from orchestrator.http.openapi import problems, takes
from orchestrator.model.api import (
    LONGEST_WAIT,
    DeletedTenant,
    DisableTenant,
    ErasedTenant,
    RenameTenant,
    RotatedCredentials,
    TenantView,
    UpdateTenant,
)
from orchestrator.model.fit import fit
from orchestrator.model.ids import parse_tenant_id
from orchestrator.model.progress import Report

Results = Annotated[
    Literal["keep", "purge"],
    QueryParameter(
        description="what becomes of its finished runs: a file on the server, or nothing"
    ),
]
Force = Annotated[bool, QueryParameter(description="unfinished runs do not keep it")]
Former = Annotated[
    bool,
    QueryParameter(
        description="only the keys of former tenants of this id, and nothing of who has it now"
    ),
]
Wait = Annotated[
    float, QueryParameter(ge=0, le=LONGEST_WAIT, description="seconds in which its runs may finish")
]


@patch(
    "/v1/tenants/{tenant:str}",
    tags=["tenants"],
    operation_class=takes(UpdateTenant),
    responses=problems(403, 404, 409, 422, 503),
)
async def update_tenant(
    services: Injected, record: Recorded, tenant: FromPath[str], body: RawBody
) -> TenantView:
    """Change what a tenant that was registered at run time is declared as."""
    known_as = services.platform.resolve(tenant)
    wanted = fit(bodies.read(body), UpdateTenant)
    async with record.of(known_as, "tenant.update", " ".join(_changed(wanted))):
        await services.lifecycle.update(known_as, wanted)
    return await services.platform.read_tenant(known_as)


@post(
    "/v1/tenants/{tenant:str}/disable",
    status_code=200,
    tags=["tenants"],
    operation_class=takes(DisableTenant, required=False),
    responses=problems(403, 404, 422, 503),
)
async def disable_tenant(
    services: Injected, record: Recorded, tenant: FromPath[str], body: RawBody
) -> TenantView:
    """Let the tenant take no work, whatever its file says, until it is enabled."""
    known_as = services.platform.resolve(tenant)
    reason = bodies.fit_optional(body, DisableTenant).reason
    async with record.of(known_as, "tenant.disable", reason):
        await services.lifecycle.disable(known_as, reason)
    return await services.platform.read_tenant(known_as)


@post(
    "/v1/tenants/{tenant:str}/enable",
    status_code=200,
    tags=["tenants"],
    responses=problems(403, 404, 409, 422, 503),
)
async def enable_tenant(services: Injected, record: Recorded, tenant: FromPath[str]) -> TenantView:
    """Let a tenant that was disabled work again; one in quarantine tries again at once.

    The answer says what came of that: 503 `tenant_quarantined` when it failed again.
    """
    known_as = services.platform.resolve(tenant)
    async with record.of(known_as, "tenant.enable"):
        await services.lifecycle.enable(known_as)
    return await services.platform.read_tenant(known_as)


@post(
    "/v1/tenants/{tenant:str}/rotate-credentials",
    status_code=200,
    tags=["tenants"],
    responses=problems(403, 404, 409, 422, 503),
)
async def rotate_credentials(
    services: Injected, record: Recorded, tenant: FromPath[str]
) -> RotatedCredentials:
    """Give the tenant's two logins new passwords. Sessions go on; nothing is restarted."""
    known_as = services.platform.resolve(tenant)
    async with record.of(known_as, "tenant.rotate_credentials"):
        return await services.lifecycle.rotate_credentials(known_as)


@post(
    "/v1/tenants/{tenant:str}/rename",
    status_code=200,
    tags=["tenants"],
    operation_class=takes(RenameTenant),
    responses={
        200: progress.described(TenantView, "The tenant under its new id"),
        **problems(403, 404, 409, 422, 503),
    },
)
async def rename_tenant(
    request: Request[Any, Any, Any],
    services: Injected,
    record: Recorded,
    tenant: FromPath[str],
    body: RawBody,
) -> Response[Any]:
    """Give a tenant another id. Unfinished runs keep it, unless it is forced: they go on then."""
    known_as = meant(services, tenant)
    wanted = fit(bodies.read(body), RenameTenant)
    how = f"to {wanted.to}" + (", forced" if wanted.force else "")

    async def rename(report: Report) -> TenantView:
        async with record.of(known_as, "tenant.rename", how):
            new = await services.lifecycle.rename(known_as, wanted, by=record.actor, report=report)
        return await services.platform.read_tenant(new)

    return await progress.answer(request, rename)


@delete(
    "/v1/tenants/{tenant:str}",
    status_code=200,
    tags=["tenants"],
    responses={
        200: progress.described(DeletedTenant, "What was dropped"),
        **problems(403, 404, 409, 422, 503),
    },
)
async def delete_tenant(  # noqa: PLR0913 - one parameter for each of the request's
    request: Request[Any, Any, Any],
    services: Injected,
    record: Recorded,
    tenant: FromPath[str],
    results: Results,
    force: Force = False,
    wait: Wait = 0.0,
) -> Response[Any]:
    """Drop a tenant with all its data. Unfinished runs keep it, unless it is forced."""
    known_as, keep = meant(services, tenant), results == "keep"
    how = f"results {results}" + (", forced" if force else "")

    async def delete(report: Report) -> DeletedTenant:
        async with record.of(known_as, "tenant.delete", how):
            return await services.lifecycle.delete(
                known_as, keep=keep, force=force, wait=wait, report=report
            )

    return await progress.answer(request, delete)


@post(
    "/v1/tenants/{tenant:str}/erase",
    status_code=200,
    tags=["tenants"],
    responses={
        200: progress.described(ErasedTenant, "What was dropped, and how many keys are destroyed"),
        **problems(403, 404, 409, 422, 503),
    },
)
async def erase_tenant(  # noqa: PLR0913 - one parameter for each of the request's
    request: Request[Any, Any, Any],
    services: Injected,
    record: Recorded,
    tenant: FromPath[str],
    force: Force = False,
    wait: Wait = 0.0,
    former: Former = False,
) -> Response[Any]:
    """Drop a tenant and destroy its keys: what was sealed for it is lost, in all its archives.

    Where nobody has the id any more, the keys of all its former tenants are destroyed, and with
    `former` these alone. Unfinished runs keep a tenant, unless it is forced.
    """
    known_as = parse_tenant_id(tenant) if former else meant(services, tenant)
    how = "former tenants" if former else "forced" if force else ""

    async def erase(report: Report) -> ErasedTenant:
        async with record.of(known_as, "tenant.erase", how):
            if former:
                return await services.lifecycle.erase_former(known_as)
            return await services.lifecycle.erase(known_as, force=force, wait=wait, report=report)

    return await progress.answer(request, erase)


def _changed(wanted: UpdateTenant) -> list[str]:
    """Return what is to be changed; the values are nobody else's business."""
    named = [each for each in ("name", "tier", "aliases") if getattr(wanted, each) is not None]
    return [*named, *wanted.set, *wanted.unset]


ROUTES = (
    update_tenant,
    disable_tenant,
    enable_tenant,
    rotate_credentials,
    rename_tenant,
    delete_tenant,
    erase_tenant,
)
