"""The way into a tenant's schema, for programs on this machine."""

from __future__ import annotations

from typing import Any

from litestar import Request, post
from litestar.params import FromPath

from orchestrator.http.audit import Recorded
from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems
from orchestrator.http.peer import over_tcp
from orchestrator.model.errors import NotAllowed
from orchestrator.model.secrets import Credentials


@post(
    "/v1/tenants/{tenant:str}/credentials",
    status_code=200,
    tags=["secrets"],
    responses=problems(403, 404, 422, 503),
)
async def hand_out_credentials(
    request: Request[Any, Any, Any], services: Injected, record: Recorded, tenant: FromPath[str]
) -> Credentials:
    """Hand out the login of the tenant's tasks: over the control socket alone, and written down."""
    known_as = services.platform.resolve(tenant)
    async with record.of(known_as, "tenant.credentials"):
        if over_tcp(request):
            raise NotAllowed(
                "credentials are handed out over the control socket alone",
                hint="ask on the machine of the daemon: insula tenant credentials",
            )
        return await services.secrets.credentials(known_as)


ROUTES = (hand_out_credentials,)
