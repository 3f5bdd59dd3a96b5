"""A middleware for every ASGI application: Starlette, FastAPI, Litestar, Quart, Django's own.

It leaves the tenant in the request's state and in a context variable, and answers what is for no
tenant itself. The application never sees such a request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

from orchestrator.client.client import Client
from orchestrator.model.errors import InsulaError, TenantNotNamed
from orchestrator.web.directory import Directory
from orchestrator.web.refusal import MEDIA, refusal
from orchestrator.web.resolver import Tenant, TenantResolver
from orchestrator.web.sources import Seen

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_current: ContextVar[Tenant | None] = ContextVar("insula_tenant", default=None)

POLICY_VIOLATION = 1008
"""The code with which a WebSocket is refused: RFC 6455, section 7.4.1."""


def current_tenant() -> Tenant:
    """Return the tenant of the request that is being served; raises TenantNotNamed without one."""
    tenant = _current.get()
    if tenant is None:
        raise TenantNotNamed(["a request that TenantMiddleware has let through"])
    return tenant


class TenantMiddleware:
    """Serves a request only when it is for one tenant that is enabled.

    The application finds it as `scope["state"]["tenant"]` (`request.state.tenant`) and by
    `current_tenant()`. A path that the resolver exempts passes without one.
    """

    def __init__(self, app: App, resolver: TenantResolver, tenants: Client | Directory) -> None:
        self._app = app
        self._resolver = resolver
        self._tenants = tenants if isinstance(tenants, Directory) else Directory(tenants)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or refuse it."""
        if scope["type"] not in {"http", "websocket"} or self._resolver.is_exempt(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            seen = seen_in(scope)
            await self._resolver.prepare(seen)
            tenant = await self._tenants.find(self._resolver.named(seen))
        except InsulaError as error:
            await _refuse(scope, send, error)
            return
        scope.setdefault("state", {})["tenant"] = tenant
        token = _current.set(tenant)
        try:
            await self._app(scope, receive, send)
        finally:
            _current.reset(token)


def seen_in(scope: Scope) -> Seen:
    """Return what sources look at of an ASGI scope."""
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
    ]
    return Seen(path=scope["path"], headers=headers)


async def _refuse(scope: Scope, send: Send, error: InsulaError) -> None:
    if scope["type"] == "websocket":
        # Before it was accepted: the server answers the handshake with 403.
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": error.code})
        return
    answer = refusal(error)
    headers = {"content-type": MEDIA, "content-length": str(len(answer.body)), **answer.headers}
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": answer.body})
