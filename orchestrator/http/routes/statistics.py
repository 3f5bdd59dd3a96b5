"""Tenants in figures."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import FromPath, QueryParameter

from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems
from orchestrator.model.figures import TenantFigures

Exact = Annotated[bool, QueryParameter(description="count the rows of each table, however long")]


@get("/v1/tenants/{tenant:str}/stats", tags=["tenants"], responses=problems(404, 422, 503))
async def tenant_stats(
    services: Injected, tenant: FromPath[str], exact: Exact = False
) -> TenantFigures:
    """Show one tenant in figures: runs, errors, size on disk, rows, connections.

    Reading ends after ten seconds, five minutes when rows are counted; `unread` names what is left.
    """
    return await services.statistics.read(services.root.resolve(tenant), exact=exact)


ROUTES = (tenant_stats,)
