"""Tenants in figures."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import FromPath, QueryParameter

from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems
from orchestrator.model.figures import FiguresOrder, InstallationFigures, TenantFigures

Exact = Annotated[bool, QueryParameter(description="count the rows of each table, however long")]

Order = Annotated[
    FiguresOrder, QueryParameter(name="sort", description="what the largest of comes first")
]
Limit = Annotated[
    int | None,
    QueryParameter(ge=1, description="only so many tenants; the sums are over all", required=False),
]


@get("/v1/tenants/{tenant:str}/stats", tags=["tenants"], responses=problems(404, 422, 503))
async def tenant_stats(
    services: Injected, tenant: FromPath[str], exact: Exact = False
) -> TenantFigures:
    """Show one tenant in figures: runs, errors, size on disk, rows, connections.

    Reading ends after ten seconds, five minutes when rows are counted; `unread` names what is left.
    """
    return await services.statistics.read(services.platform.resolve(tenant), exact=exact)


@get("/v1/stats", tags=["tenants"], responses=problems(422, 503))
async def stats(
    services: Injected, sort: Order = FiguresOrder.ID, limit: Limit = None
) -> InstallationFigures:
    """Show all tenants in figures as they were last read, with the age of each, and their sums.

    No tenant is asked: who was used since is read again within minutes, in the background.
    """
    return await services.statistics.overview(order=sort, limit=limit)


ROUTES = (tenant_stats, stats)
