"""Who did what to a tenant."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import FromPath, QueryParameter

from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems
from orchestrator.model.api import AuditPage
from orchestrator.model.errors import TenantNotFound
from orchestrator.model.ids import parse_tenant_id

Page = Annotated[int, QueryParameter(ge=1, le=1000, description="entries on a page")]
Cursor = Annotated[
    int | None, QueryParameter(description="the `cursor` of the page before", required=False)
]


@get("/v1/tenants/{tenant:str}/audit", tags=["tenants"], responses=problems(404, 422, 503))
async def audit_tenant(
    services: Injected, tenant: FromPath[str], limit: Page = 50, cursor: Cursor = None
) -> AuditPage:
    """List who did what to a tenant and what came of it, newest first.

    Also of one that is gone.
    """
    try:
        known_as = services.root.resolve(tenant)
    except TenantNotFound:
        page = await services.audit.read(parse_tenant_id(tenant), limit=limit, cursor=cursor)
        if not page.entries and cursor is None:
            raise
        return page
    return await services.audit.read(known_as, limit=limit, cursor=cursor)


ROUTES = (audit_tenant,)
