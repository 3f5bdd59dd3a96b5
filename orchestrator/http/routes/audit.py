"""Who did what to a tenant."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import FromPath, QueryParameter

from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems
from orchestrator.model.api import AuditPage
from orchestrator.model.ids import CONTROL_SCHEMA, TenantId, tenant_id_problems

Page = Annotated[int, QueryParameter(ge=1, le=1000, description="entries on a page")]
Cursor = Annotated[
    int | None,
    QueryParameter(
        ge=1, le=2**63 - 1, description="the `cursor` of the page before", required=False
    ),
]


@get("/v1/tenants/{tenant:str}/audit", tags=["tenants"], responses=problems(404, 422, 503))
async def audit_tenant(
    services: Injected, tenant: FromPath[str], limit: Page = 50, cursor: Cursor = None
) -> AuditPage:
    """List who did what to a tenant and what came of it, newest first.

    Also of one that is gone, or was called so before it was renamed: an id goes before an alias.
    What was done to the installation is under `insula`, which no tenant can be called.
    """
    known = tenant == CONTROL_SCHEMA or not tenant_id_problems(tenant)
    asked_for = TenantId(tenant) if known else None
    if asked_for is not None:
        page = await services.audit.read(asked_for, limit=limit, cursor=cursor)
        if page.entries or cursor is not None or asked_for == CONTROL_SCHEMA:
            return page
    known_as = services.platform.resolve(tenant)
    return await services.audit.read(known_as, limit=limit, cursor=cursor)


ROUTES = (audit_tenant,)
