"""The maintenance of a tenant's tables."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, post
from litestar.params import FromPath, QueryParameter

from orchestrator.http import progress
from orchestrator.http.audit import Recorded
from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems
from orchestrator.model.maintenance import MaintenanceReport
from orchestrator.model.progress import Report

LONGEST = 3600.0

After = Annotated[str, QueryParameter(max_length=63, description="only the tables after this one")]
Seconds = Annotated[
    float, QueryParameter(gt=0, le=LONGEST, description="how long one statement may take")
]


@post(
    "/v1/tenants/{tenant:str}/maintain",
    status_code=200,
    tags=["tenants"],
    responses={
        200: progress.described(MaintenanceReport, "What was done"),
        **problems(403, 404, 422, 503),
    },
)
async def maintain_tenant(
    request: Request[Any, Any, Any],
    services: Injected,
    record: Recorded,
    tenant: FromPath[str],
    after: After = "",
    statement_seconds: Seconds = 600.0,
) -> Response[Any]:
    """Vacuum, analyze and check some of the tenant's tables; `left` tells whether to ask again."""
    known_as = services.platform.resolve(tenant)

    async def maintain(report: Report) -> MaintenanceReport:
        async with record.of(known_as, "tenant.maintain", f"after {after}" if after else ""):
            return await services.maintenance.run(
                known_as, after=after, statement_seconds=statement_seconds, report=report
            )

    return await progress.answer(request, maintain)


ROUTES = (maintain_tenant,)
