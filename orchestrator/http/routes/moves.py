"""Moving a tenant to another database."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, post
from litestar.params import FromPath, RawBody

from orchestrator.http import body as bodies
from orchestrator.http import progress
from orchestrator.http.audit import Recorded
from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems, takes
from orchestrator.model.fit import fit
from orchestrator.model.moves import MovedTenant, MoveTenant
from orchestrator.model.progress import Report


@post(
    "/v1/tenants/{tenant:str}/move",
    status_code=200,
    tags=["tenants"],
    operation_class=takes(MoveTenant),
    responses={
        200: progress.described(MovedTenant, "Where the tenant is now"),
        **problems(403, 404, 409, 422, 503),
    },
)
async def move_tenant(
    request: Request[Any, Any, Any],
    services: Injected,
    record: Recorded,
    tenant: FromPath[str],
    body: RawBody,
) -> Response[Any]:
    """Move a tenant to another shard, confirm that, or go back. Unfinished runs keep it."""
    known_as = services.platform.resolve(tenant)
    wanted = fit(bodies.read(body), MoveTenant)

    async def move(report: Report) -> MovedTenant:
        async with record.of(known_as, "tenant.move", _how(wanted)):
            return await services.moves.run(known_as, wanted, report=report)

    return await progress.answer(request, move)


def _how(wanted: MoveTenant) -> str:
    what = f"to {wanted.to}" if wanted.to else "confirmed" if wanted.confirm else "back"
    return what + (", forced" if wanted.force else "")


ROUTES = (move_tenant,)
