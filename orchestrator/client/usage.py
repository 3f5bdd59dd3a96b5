"""What tenants have used, for both clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime

from orchestrator.client import calls
from orchestrator.client.sending import Send, SendNow
from orchestrator.model.usage import Span, TenantUsage, Used


class Usage:
    """What tenants have used, by the hour or day of UTC; `Client.usage` is one.

    Rows begin at `since` or later, 30 days ago if it is not given, and before `until`.
    """

    def __init__(self, send: Send) -> None:
        self._send = send

    async def all(
        self, *, since: datetime | None = None, until: datetime | None = None, by: Span = "day"
    ) -> AsyncIterator[Used]:
        """Yield what all tenants used, by tenant and time; also those that are deleted.

        >>> [row.task_ms async for row in client.usage.all()]  # doctest: +SKIP
        [86400, 1200]
        """
        query = _query(since, until, by)
        while True:
            page = await self._send(calls.usage(query))
            for row in page.rows:
                yield row
            if page.cursor is None:
                return
            query["cursor"] = page.cursor

    async def tenant(
        self,
        tenant: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        by: Span = "day",
    ) -> TenantUsage:
        """Return what one tenant used, to this moment, and its newest alerts.

        >>> (await client.usage.tenant("acme_corp")).rows[-1].submitted  # doctest: +SKIP
        42
        """
        return await self._send(calls.tenant_usage(tenant, _query(since, until, by)))


class SyncUsage:
    """What tenants have used, by the hour or day of UTC; `SyncClient.usage` is one."""

    def __init__(self, send: SendNow) -> None:
        self._send = send

    def all(
        self, *, since: datetime | None = None, until: datetime | None = None, by: Span = "day"
    ) -> Iterator[Used]:
        """Yield what all tenants used, by tenant and time; also those that are deleted.

        >>> [row.task_ms for row in client.usage.all()]  # doctest: +SKIP
        [86400, 1200]
        """
        query = _query(since, until, by)
        while True:
            page = self._send(calls.usage(query))
            yield from page.rows
            if page.cursor is None:
                return
            query["cursor"] = page.cursor

    def tenant(
        self,
        tenant: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        by: Span = "day",
    ) -> TenantUsage:
        """Return what one tenant used, to this moment, and its newest alerts.

        >>> client.usage.tenant("acme_corp").rows[-1].submitted  # doctest: +SKIP
        42
        """
        return self._send(calls.tenant_usage(tenant, _query(since, until, by)))


def _query(since: datetime | None, until: datetime | None, by: Span) -> dict[str, str]:
    given = {"from": since, "to": until}
    return {"by": by} | {name: at.isoformat() for name, at in given.items() if at is not None}
