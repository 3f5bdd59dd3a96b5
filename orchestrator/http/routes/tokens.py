"""Tokens for the API over TCP: made, listed and revoked. The token itself is told once."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, delete, get, post
from litestar.params import FromPath, PathParameter, RawBody

from orchestrator.http import body as bodies
from orchestrator.http.audit import Record, Recorded
from orchestrator.http.injected import Injected
from orchestrator.http.meant import kept
from orchestrator.http.openapi import problems, takes
from orchestrator.http.peer import holder_of
from orchestrator.http.services import Services
from orchestrator.model.bearer import ID_PATTERN, new_token
from orchestrator.model.ids import CONTROL_SCHEMA, TenantId
from orchestrator.model.tokens import (
    CreateAdminToken,
    CreateToken,
    MintedToken,
    Role,
    TokenList,
    TokenView,
)

TokenIdentity = Annotated[
    str, PathParameter(pattern=ID_PATTERN, description="what stands between the two underscores")
]


@get("/v1/tokens", tags=["tokens"], responses=problems(401, 403, 503))
async def list_admin_tokens(services: Injected) -> TokenList:
    """List the tokens that are for the whole installation, newest first."""
    return TokenList(tokens=await services.tokens.listed(None))


@post(
    "/v1/tokens",
    tags=["tokens"],
    operation_class=takes(CreateAdminToken, required=False),
    responses=problems(401, 403, 422, 503),
)
async def create_admin_token(
    request: Request[Any, Any, Any], services: Injected, record: Recorded, body: RawBody
) -> Response[MintedToken]:
    """Make a token that may do everything. No other answer will have it."""
    wanted = bodies.fit_optional(body, CreateAdminToken)
    whole = CreateToken(role=Role.ADMIN, name=wanted.name, expires=wanted.expires)
    return await _mint(request, services, record, None, whole)


@delete(
    "/v1/tokens/{token:str}",
    status_code=200,
    tags=["tokens"],
    responses=problems(401, 403, 404, 422, 503),
)
async def revoke_admin_token(
    services: Injected, record: Recorded, token: TokenIdentity
) -> TokenView:
    """Make a token void, on every node from the next request on: any token, whosever it is.

    The answer tells whose; what was done to a tenant's is in that tenant's audit.
    """
    owner = await services.tokens.owner_of(token)
    kind = "admin_token" if owner is None else "token"
    async with record.of(owner or CONTROL_SCHEMA, f"{kind}.revoke", token):
        return await services.tokens.revoke(token, owner)


@get("/v1/tenants/{tenant:str}/tokens", tags=["tokens"], responses=problems(401, 403, 404, 503))
async def list_tokens(services: Injected, tenant: FromPath[str]) -> TokenList:
    """List the tokens of a tenant, newest first; also of one that is archived."""
    return TokenList(tokens=await services.tokens.listed(kept(services, tenant)))


@post(
    "/v1/tenants/{tenant:str}/tokens",
    tags=["tokens"],
    operation_class=takes(CreateToken, required=False),
    responses=problems(401, 403, 404, 422, 503),
)
async def create_token(
    request: Request[Any, Any, Any],
    services: Injected,
    record: Recorded,
    tenant: FromPath[str],
    body: RawBody,
) -> Response[MintedToken]:
    """Make a token for a tenant, with the role `read`, `write` or `admin`."""
    wanted = bodies.fit_optional(body, CreateToken)
    return await _mint(request, services, record, services.platform.resolve(tenant), wanted)


@delete(
    "/v1/tenants/{tenant:str}/tokens/{token:str}",
    status_code=200,
    tags=["tokens"],
    responses=problems(401, 403, 404, 422, 503),
)
async def revoke_token(
    services: Injected, record: Recorded, tenant: FromPath[str], token: TokenIdentity
) -> TokenView:
    """Make a token of a tenant void, on every node from the next request on.

    Also of one that is archived: it stays void when the tenant is back.
    """
    known_as = kept(services, tenant)
    async with record.of(known_as, "token.revoke", token):
        return await services.tokens.revoke(token, known_as)


async def _mint(
    request: Request[Any, Any, Any],
    services: Services,
    record: Record,
    tenant: TenantId | None,
    wanted: CreateToken,
) -> Response[MintedToken]:
    text, bearer = new_token()
    told = f"{bearer.id}, {wanted.role}" + (f", {wanted.name}" if wanted.name else "")
    kind = "admin_token" if tenant is None else "token"
    async with record.of(tenant or CONTROL_SCHEMA, f"{kind}.create", told):
        view = await services.tokens.mint(
            bearer, tenant, wanted, by=record.actor, maker=holder_of(request)
        )
    return Response(MintedToken(token=text, view=view), headers={"Cache-Control": "no-store"})


ROUTES = (
    list_admin_tokens,
    create_admin_token,
    revoke_admin_token,
    list_tokens,
    create_token,
    revoke_token,
)
