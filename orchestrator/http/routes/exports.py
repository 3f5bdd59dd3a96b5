"""A tenant's data in open formats: export and import."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter

from orchestrator.archive.export import Kind
from orchestrator.http.audit import Recorded
from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems
from orchestrator.http.progress import answer, described
from orchestrator.http.routes.archives import received, sent
from orchestrator.model.archives import ARCHIVE, ImportedRows
from orchestrator.model.progress import Report

Form = Annotated[Kind, QueryParameter(name="format", description="the form of the rows")]
Unsealed = Annotated[
    bool, QueryParameter(description="what runs carry as it was before it was sealed")
]


@post(
    "/v1/tenants/{tenant:str}/export",
    status_code=200,
    tags=["tenants"],
    responses={
        200: ResponseSpec(
            bytes, generate_examples=False, description="The files, in a tar", media_type=ARCHIVE
        ),
        **problems(403, 404, 422, 503),
    },
)
async def export_tenant(
    request: Request[Any, Any, Any],
    services: Injected,
    record: Recorded,
    tenant: FromPath[str],
    kind: Form = "csv",
    unsealed: Unsealed = False,
) -> Response[Any]:
    """Send the application's rows of a tenant, and its finished runs, in an open format."""
    known_as = services.platform.resolve(tenant)
    async with record.of(known_as, "tenant.export", kind + (", unsealed" if unsealed else "")):
        spool = await services.archives.export(known_as, kind=kind, unsealed=unsealed)
    return await sent(spool, request, services)


@post(
    "/v1/tenants/{tenant:str}/import",
    status_code=200,
    tags=["tenants"],
    opt={"media": ARCHIVE},
    request_max_body_size=None,
    responses={
        200: described(ImportedRows, "What was added"),
        **problems(403, 404, 409, 422, 503),
    },
)
async def import_rows(
    request: Request[Any, Any, Any], services: Injected, record: Recorded, tenant: FromPath[str]
) -> Response[Any]:
    """Add the rows of the export in the body to the tenant's tables: all of them, or none."""
    known_as = services.platform.resolve(tenant)
    async with record.refusal(known_as, "tenant.import"):
        spool = await received(request, services)

    async def add(report: Report) -> ImportedRows:
        with spool:
            async with record.of(known_as, "tenant.import"):
                return await services.archives.add(known_as, spool, report=report)

    return await answer(request, add)


ROUTES = (export_tenant, import_rows)
"""What the API does with tenants' data in open formats."""
