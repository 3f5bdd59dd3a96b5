"""Who may use which route over TCP: one table, and the guard that reads it.

Over the control socket the file's mode is the door, and nobody is asked here. A route that the
table lacks is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import anyio
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import HTTPReceiveMessage, Receive, WebSocketReceiveMessage

from orchestrator.http.peer import over_tcp
from orchestrator.http.refusals import Refusals
from orchestrator.http.services import Services
from orchestrator.model.bearer import Bearer, read_token
from orchestrator.model.errors import InsulaError, NotAllowed, TenantArchived, Unauthenticated
from orchestrator.model.tokens import Holder, Role

Connection = ASGIConnection[Any, Any, Any, Any]


SLOW_SECONDS = 1.0
"""While a body comes, the token is looked at so often, and once more at its end."""


class Open(Enum):
    """What needs no role."""

    TO_ALL = auto()
    """Answered without a token."""

    TO_HOLDERS = auto()
    """Answered to every valid token; the route tells each holder what is theirs."""

    TO_OPERATORS = auto()
    """Only to tokens of the whole installation."""


_TENANT = "/v1/tenants/{tenant}"
_RUN = f"{_TENANT}/runs/{{run}}"

# A tenant's own tokens run its work and care for its data. Whether it is there, what it is called,
# where it lives and what it may use is decided by who answers for the installation.
RULES: Mapping[str, Open | Role] = {
    "GET /health/live": Open.TO_ALL,
    "GET /health/ready": Open.TO_ALL,
    "GET /schema": Open.TO_HOLDERS,
    "GET /schema/openapi.json": Open.TO_HOLDERS,
    "GET /schema/{path}": Open.TO_HOLDERS,
    "GET /v1/tenants": Open.TO_HOLDERS,
    "GET /v1/status": Open.TO_OPERATORS,
    "GET /v1/stats": Open.TO_OPERATORS,
    "GET /v1/usage": Open.TO_OPERATORS,
    "POST /v1/reload": Open.TO_OPERATORS,
    "POST /v1/migrate": Open.TO_OPERATORS,
    "GET /v1/tokens": Open.TO_OPERATORS,
    "POST /v1/tokens": Open.TO_OPERATORS,
    "DELETE /v1/tokens/{token}": Open.TO_OPERATORS,
    "POST /v1/tenants": Open.TO_OPERATORS,
    f"PATCH {_TENANT}": Open.TO_OPERATORS,
    f"DELETE {_TENANT}": Open.TO_OPERATORS,
    # Also of who was called so before: what is written under an id outlives its tenant.
    f"GET {_TENANT}/audit": Open.TO_OPERATORS,
    f"POST {_TENANT}/adopt": Open.TO_OPERATORS,
    f"POST {_TENANT}/archive": Open.TO_OPERATORS,
    f"POST {_TENANT}/clone": Open.TO_OPERATORS,
    f"POST {_TENANT}/credentials": Open.TO_OPERATORS,
    f"POST {_TENANT}/disable": Open.TO_OPERATORS,
    f"POST {_TENANT}/enable": Open.TO_OPERATORS,
    f"POST {_TENANT}/erase": Open.TO_OPERATORS,
    f"POST {_TENANT}/move": Open.TO_OPERATORS,
    f"POST {_TENANT}/rename": Open.TO_OPERATORS,
    f"POST {_TENANT}/restore": Open.TO_OPERATORS,
    f"POST {_TENANT}/unarchive": Open.TO_OPERATORS,
    f"GET {_TENANT}": Role.READ,
    f"GET {_TENANT}/why": Role.READ,
    f"GET {_TENANT}/stats": Role.READ,
    f"GET {_TENANT}/usage": Role.READ,
    f"GET {_TENANT}/runs": Role.READ,
    f"GET {_RUN}": Role.READ,
    f"GET {_RUN}/events": Role.READ,
    f"GET {_TENANT}/dead": Role.READ,
    f"GET {_TENANT}/schedules": Role.READ,
    f"POST {_TENANT}/runs": Role.WRITE,
    f"POST {_RUN}/{{verb}}": Role.WRITE,
    f"POST {_RUN}/repeat": Role.WRITE,
    f"POST {_RUN}/signals/{{name}}": Role.WRITE,
    f"POST {_TENANT}/pause": Role.WRITE,
    f"POST {_TENANT}/resume": Role.WRITE,
    f"POST {_TENANT}/dead/replay": Role.WRITE,
    f"POST {_TENANT}/dead/discard": Role.WRITE,
    f"POST {_TENANT}/schedules/{{name}}/pause": Role.WRITE,
    f"POST {_TENANT}/schedules/{{name}}/resume": Role.WRITE,
    f"POST {_TENANT}/schedules/{{name}}/fire": Role.WRITE,
    f"GET {_TENANT}/secrets": Role.ADMIN,
    f"PUT {_TENANT}/secrets/{{name}}": Role.ADMIN,
    f"DELETE {_TENANT}/secrets/{{name}}": Role.ADMIN,
    f"GET {_TENANT}/tokens": Role.ADMIN,
    f"POST {_TENANT}/tokens": Role.ADMIN,
    f"DELETE {_TENANT}/tokens/{{token}}": Role.ADMIN,
    f"POST {_TENANT}/backup": Role.ADMIN,
    f"POST {_TENANT}/export": Role.ADMIN,
    f"POST {_TENANT}/import": Role.ADMIN,
    f"POST {_TENANT}/maintain": Role.ADMIN,
    f"POST {_TENANT}/provision": Role.ADMIN,
    f"POST {_TENANT}/rotate-credentials": Role.ADMIN,
    f"POST {_TENANT}/rotate-key": Role.ADMIN,
}
"""What each route asks for: a role is that of the tenant in its path."""

BRINGS_BACK = f"POST {_TENANT}/runs"
"""The one route that hears of an archived tenant's own tokens, to have it brought back."""


@dataclass(frozen=True)
class Doorkeeper:
    """Lets a request pass with the token that its route asks for."""

    services: Services
    required: bool
    refusals: Refusals

    async def __call__(self, connection: Connection, _: BaseRouteHandler) -> None:
        """Raise Unauthenticated without a valid token, NotAllowed for what it does not open.

        And TenantArchived for all that it would open once its tenant is back.
        """
        scope = connection.scope
        route = f"{scope.get('method')} {scope['path_template']}"
        rule = RULES.get(route)
        if not over_tcp(connection) or not self.required or rule is Open.TO_ALL:
            return
        holder = await self._identify(connection)
        connection.scope["state"]["holder"] = holder
        if rule is None or not self._opens(connection, holder, rule):
            raise _not_opened(holder, rule)
        if holder.tenant is not None and holder.archived and route != BRINGS_BACK:
            raise TenantArchived(holder.tenant)
        connection.receive = self._while_valid(connection.receive, holder)

    def _while_valid(self, receive: Receive, holder: Holder) -> Receive:
        """Return what gives a body as `receive` does, but only while the token is valid.

        Else who sends it slowly would keep what was opened long after the token is revoked, or its
        tenant renamed: a new token, for one, or room for an upload.
        """
        began = looked = anyio.current_time()

        async def checked() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            nonlocal looked
            message = await receive()
            now = anyio.current_time()
            ends = message["type"] == "http.request" and not message["more_body"]
            if now - (began if ends else looked) >= SLOW_SECONDS:
                looked = now
                if not await self.services.tokens.is_live(holder):
                    raise Unauthenticated
            return message

        return checked

    async def _identify(self, connection: Connection) -> Holder:
        bearer = bearer_of(connection)
        holder = None if bearer is None else await self.services.tokens.holder_of(bearer)
        if holder is None:
            self.refusals.count(connection)
            raise Unauthenticated
        return holder

    def _opens(self, connection: Connection, holder: Holder, rule: Open | Role) -> bool:
        if holder.tenant is None or rule is Open.TO_HOLDERS:
            return True
        if not isinstance(rule, Role) or not holder.role.includes(rule):
            return False
        named = connection.path_params["tenant"]
        if named != holder.tenant and self._resolved(named) != holder.tenant:
            return False
        # The route sees the id alone: a name that went to another tenant while a slow body came
        # would lead it there. The mapping itself is the router's, for others of the same path too.
        connection.scope["path_params"] = {**connection.path_params, "tenant": holder.tenant}
        return True

    def _resolved(self, name: str) -> str | None:
        try:
            return self.services.platform.resolve(name)
        except TenantArchived as error:
            return error.tenant
        except InsulaError:  # what it can not be is for those to know who may ask
            return None


def _not_opened(holder: Holder, rule: Open | Role | None) -> NotAllowed:
    """Say what the route asks for and what the token has: nothing of other tenants."""
    if rule is None:
        return NotAllowed("no token opens that")
    has = f"this one has the role {holder.role} of tenant {holder.tenant!r}"
    if not isinstance(rule, Role):
        hint = "ask whoever runs the installation (`insula token create`)"
        return NotAllowed(f"that needs a token of the whole installation; {has}", hint=hint)
    if not holder.role.includes(rule):
        hint = f"`insula tenant token {holder.tenant} --role {rule}` makes one"
        return NotAllowed(f"that needs a token with the role {rule}; {has}", hint=hint)
    return NotAllowed(f"that needs a token of the tenant that is named; {has}")


def bearer_of(connection: Connection) -> Bearer | None:
    """Return the token that a request carries; None when it has none, several, or what is none."""
    sent = [value for name, value in connection.scope["headers"] if name == b"authorization"]
    if len(sent) != 1:
        return None
    scheme, _, text = sent[0].decode("latin-1").partition(" ")
    return read_token(text) if scheme.lower() == "bearer" else None
