"""The part of the small platform that tells usage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from orchestrator.model.api import Alert
from orchestrator.model.errors import TenantNotFound
from orchestrator.model.usage import Span, TenantUsage, UsagePage, Used

OWN, FORMER = UUID(int=1), UUID("3f0c9a1b-0000-4000-8000-000000000000")
FIRST = datetime(2026, 1, 30, tzinfo=UTC)
COUNTED = Used(
    tenant="acme_corp",
    registration=OWN,
    span="day",
    starts_at=FIRST,
    submitted=3,
    input_bytes=40,
    succeeded=1,
    failed=1,
    dead=1,
    attempts=5,
    task_ms=1200,
)


class HandMadeUsage:
    """Knows two days of one id, and gives a row a page."""

    async def page(
        self, since: datetime, until: datetime, span: Span, *, limit: int, cursor: str | None
    ) -> UsagePage:
        """Return the day of a former tenant of the id, and then one of the present one."""
        at, former = (FIRST, True) if cursor is None else (FIRST + timedelta(days=1), False)
        row = Used(
            tenant="acme_corp",
            registration=FORMER if former else OWN,
            gone=former,
            span=span,
            starts_at=at,
            submitted=limit,
        )
        found = [row] if since <= at < until else []
        return UsagePage(rows=found, cursor="on" if cursor is None else None)

    async def of_tenant(
        self, name: str, since: datetime, until: datetime, span: Span
    ) -> TenantUsage:
        """Return one day and an alert, if that is asked for."""
        if name != "acme_corp":
            raise TenantNotFound(name)
        alert = Alert(quota="max_runs_per_day", since=FIRST, at=FIRST, used=8, allowed=10)
        rows = [COUNTED] if since <= FIRST < until else []
        return TenantUsage(tenant=name, exact=span == "hour", rows=rows, alerts=[alert])
