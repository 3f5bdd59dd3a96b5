"""A schema that exists becomes a tenant."""

from __future__ import annotations

from litestar import post
from litestar.params import FromPath, RawBody

from orchestrator.http import body as bodies
from orchestrator.http.audit import Recorded
from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems, takes
from orchestrator.model.adoption import AdoptionReport, AdoptSchema
from orchestrator.model.fit import fit


@post(
    "/v1/tenants/{tenant:str}/adopt",
    status_code=200,
    tags=["tenants"],
    operation_class=takes(AdoptSchema),
    responses=problems(403, 404, 409, 422, 503),
)
async def adopt_schema(
    services: Injected, record: Recorded, tenant: FromPath[str], body: RawBody
) -> AdoptionReport:
    """Make an existing schema that of a tenant that was never used; a dry run tells the plan."""
    known_as = services.platform.resolve(tenant)
    wanted = fit(bodies.read(body), AdoptSchema)
    subject = f"schema {wanted.schema}" + (", dry run" if wanted.dry_run else "")
    async with record.of(known_as, "tenant.adopt", subject):
        return await services.adoption.run(known_as, wanted)


ROUTES = (adopt_schema,)
