"""The requests about tokens, as values."""

from __future__ import annotations

import re

from orchestrator.client.calls import Call, tenant_path
from orchestrator.model.bearer import ID_PATTERN
from orchestrator.model.errors import InvalidRequest
from orchestrator.model.tokens import CreateAdminToken, MintedToken, Role, TokenList, TokenView


def create_admin_token(name: str, expires: str | None) -> Call[MintedToken]:
    """Have a token made that is for the whole installation."""
    body = CreateAdminToken(name=name, expires=expires)
    return Call("POST", "/v1/tokens", MintedToken, body)


def create_token(
    tenant: str, role: Role | str, name: str, expires: str | None
) -> Call[MintedToken]:
    """Have a token of a tenant made; what is no role is for the server to refuse."""
    body = {"role": role, "name": name, "expires": expires}
    return Call("POST", tenant_path(tenant, "tokens"), MintedToken, body)


def list_tokens(tenant: str | None) -> Call[TokenList]:
    """Ask for the tokens of a tenant, or of the installation."""
    path = "/v1/tokens" if tenant is None else tenant_path(tenant, "tokens")
    return Call("GET", path, TokenList, repeatable=True)


def revoke_token(tenant: str | None, id: str) -> Call[TokenView]:
    """Have a token of a tenant, or of the installation, made void."""
    if re.match(ID_PATTERN, id) is None:
        raise InvalidRequest(
            "that is not the id of a token",
            hint="the id alone: what stands between the two underscores of the token",
        )
    path = f"/v1/tokens/{id}" if tenant is None else tenant_path(tenant, "tokens", id)
    return Call("DELETE", path, TokenView, repeatable=True)
