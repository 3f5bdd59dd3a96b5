"""Migrations over all tenants."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, post
from litestar.params import RawBody

from orchestrator.http import body as bodies
from orchestrator.http import progress
from orchestrator.http.audit import Recorded
from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems, takes
from orchestrator.model.migration import MigrateTenants, MigrationReport
from orchestrator.model.progress import Report


@post(
    "/v1/migrate",
    status_code=200,
    tags=["tenants"],
    operation_class=takes(MigrateTenants, required=False),
    responses={
        200: progress.described(MigrationReport, "What became of each tenant"),
        **problems(403, 404, 409, 422, 503),
    },
)
async def migrate(
    request: Request[Any, Any, Any], services: Injected, record: Recorded, body: RawBody
) -> Response[Any]:
    """Bring tenants up to date with the migrations as they are now; `failed` has the others."""
    wanted = bodies.fit_optional(body, MigrateTenants)

    async def run(report: Report) -> MigrationReport:
        return await services.migrations.run(wanted, record, report)

    return await progress.answer(request, run)


ROUTES = (migrate,)
