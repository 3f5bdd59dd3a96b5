"""A dependency for FastAPI, where only some of the routes are for a tenant.

>>> tenant_of = RequestTenant(TenantResolver([Header()]), client)  # doctest: +SKIP
>>> @app.get("/reports")  # doctest: +SKIP
... async def reports(tenant: Annotated[Tenant, Depends(tenant_of)]) -> Report: ...
"""

from __future__ import annotations

import msgspec
from fastapi import HTTPException, WebSocketException
from fastapi.requests import HTTPConnection

from orchestrator.client.client import Client
from orchestrator.model.errors import InsulaError
from orchestrator.web.asgi import POLICY_VIOLATION, seen_in
from orchestrator.web.directory import Directory
from orchestrator.web.refusal import refusal
from orchestrator.web.resolver import Tenant, TenantResolver


class RequestTenant:
    """Gives a route the tenant of its request; refuses as `TenantMiddleware` does.

    A refusal is an HTTPException with the body that the middleware would send as its detail, so
    the application's own handlers decide how it looks. Exempt paths are of no concern here.
    """

    def __init__(self, resolver: TenantResolver, tenants: Client | Directory) -> None:
        self._resolver = resolver
        self._tenants = tenants if isinstance(tenants, Directory) else Directory(tenants)

    async def __call__(self, connection: HTTPConnection) -> Tenant:
        """Return the tenant of a request or a WebSocket."""
        try:
            seen = seen_in(connection.scope)
            await self._resolver.prepare(seen)
            return await self._tenants.find(self._resolver.named(seen))
        except InsulaError as error:
            if connection.scope["type"] == "websocket":
                raise WebSocketException(POLICY_VIOLATION, error.code) from error
            answer = refusal(error)
            raise HTTPException(
                answer.status, detail=msgspec.json.decode(answer.body), headers=answer.headers
            ) from error
