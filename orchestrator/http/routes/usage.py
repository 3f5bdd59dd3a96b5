"""What tenants have used, for their bills."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from litestar import get
from litestar.params import FromPath, FromQuery, QueryParameter

from orchestrator.http.injected import Injected
from orchestrator.http.moments import in_utc
from orchestrator.http.openapi import problems
from orchestrator.model.errors import InvalidRequest
from orchestrator.model.usage import Span, TenantUsage, UsagePage, day_of

SHOWN = timedelta(days=30)
EARLIEST = datetime.min.replace(tzinfo=UTC)

Since = Annotated[
    datetime | None,
    QueryParameter(
        name="from",
        description="hours and days that begin then or later; absent: 30 days ago",
        required=False,
    ),
]
Until = Annotated[
    datetime | None,
    QueryParameter(name="to", description="and before then; absent: now", required=False),
]
Page = Annotated[int, QueryParameter(ge=1, le=5000, description="rows on a page")]
Cursor = Annotated[
    str | None, QueryParameter(description="the `cursor` of the page before", required=False)
]


@get("/v1/usage", tags=["usage"], responses=problems(422, 503))
async def usage(
    services: Injected,
    since: Since = None,
    until: Until = None,
    by: FromQuery[Span] = "day",
    limit: Page = 1000,
    cursor: Cursor = None,
) -> UsagePage:
    """List what all tenants used, by tenant and time; also those that are deleted.

    What a tenant that is awake used within the last minute may be missing.
    """
    first, end = _range(since, until)
    return await services.usage.page(first, end, by, limit=limit, cursor=cursor)


@get("/v1/tenants/{tenant:str}/usage", tags=["usage"], responses=problems(404, 422, 503))
async def tenant_usage(
    services: Injected,
    tenant: FromPath[str],
    since: Since = None,
    until: Until = None,
    by: FromQuery[Span] = "day",
) -> TenantUsage:
    """Show what one tenant used, to this moment; also of one that is deleted."""
    first, end = _range(since, until)
    return await services.usage.of_tenant(tenant, first, end, by)


def _range(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    end = in_utc("to", until) or datetime.now(UTC)
    first = in_utc("from", since) or max(day_of(end), EARLIEST + SHOWN) - SHOWN
    if end < first:
        raise InvalidRequest("`to` is before `from`")
    return first, end


ROUTES = (usage, tenant_usage)
