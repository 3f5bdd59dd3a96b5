"""Proves the bearer token of a request, for `Claim`. Needs the extra `jwt`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jwt

from orchestrator.web.sources import Verify

KeyOrSecret = str | bytes | jwt.PyJWK


def jwt_verifier(
    key: KeyOrSecret | jwt.PyJWKClient,
    *,
    algorithms: Sequence[str],
    audience: str | None = None,
    issuer: str | None = None,
) -> Verify:
    """Return what proves a JSON Web Token (RFC 7519) with `key` and gives its claims.

    `key` is a secret, a public key as PEM, or a PyJWKClient, which fetches the issuer's keys and
    keeps them. Only `algorithms` are taken, whatever the token says of itself; a token has to
    expire. Without an `audience` a token that has one is refused. Raises ValueError without
    algorithms, or for `none` among them.
    """
    if not algorithms or "none" in {each.lower() for each in algorithms}:
        raise ValueError("say which algorithms sign your tokens, such as RS256")

    def verify(token: str) -> Mapping[str, Any]:
        try:
            found = key.get_signing_key_from_jwt(token) if isinstance(key, jwt.PyJWKClient) else key
            claims: dict[str, Any] = jwt.decode(
                token,
                found,
                algorithms=list(algorithms),
                audience=audience,
                issuer=issuer,
                options={"require": ["exp"]},
            )
        except jwt.PyJWTError as error:
            raise ValueError(str(error)) from error
        return claims

    return verify
