"""Proves the bearer token of a request, for `Claim`. Needs the extra `jwt`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from orchestrator.web.issuer import IssuerKeys

KeyOrSecret = str | bytes | jwt.PyJWK


@dataclass(frozen=True, slots=True)
class JwtVerifier:
    """Proves tokens, and has the keys of an issuer read before that; see `jwt_verifier`."""

    key: KeyOrSecret | IssuerKeys
    algorithms: Sequence[str]
    audience: str | None
    issuer: str | None

    def __call__(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token, without waiting; ValueError for one that is not good.

        IssuerUnavailable when its issuer's keys are not there: see `prepare`.
        """
        try:
            key = self.key
            claims: dict[str, Any] = jwt.decode(
                token,
                key.find(_key_id(token)) if isinstance(key, IssuerKeys) else key,
                algorithms=list(self.algorithms),
                audience=self.audience,
                issuer=self.issuer,
                options={"require": ["exp"]},
            )
        except jwt.PyJWTError as error:
            raise ValueError(str(error)) from error
        return claims

    async def prepare(self, token: str) -> None:
        """Have the key read that a token names, off the event loop."""
        if isinstance(self.key, IssuerKeys) and (named := _named(token)):
            await self.key.prepare(named)

    def prepare_now(self, token: str) -> None:
        """Do as `prepare`, in a thread that may wait."""
        if isinstance(self.key, IssuerKeys) and (named := _named(token)):
            self.key.prepare_now(named)


def jwt_verifier(
    key: KeyOrSecret | IssuerKeys,
    *,
    algorithms: Sequence[str],
    audience: str | None = None,
    issuer: str | None = None,
) -> JwtVerifier:
    """Return what proves a JSON Web Token (RFC 7519) with `key` and gives its claims.

    `key` is a secret, a public key as PEM, or the keys that an issuer publishes. Only `algorithms`
    are taken, whatever the token says of itself; a token has to expire. Without an `audience` a
    token that has one is refused. Raises ValueError without algorithms, or for `none` among them.
    """
    if not algorithms or "none" in {each.lower() for each in algorithms}:
        raise ValueError("say which algorithms sign your tokens, such as RS256")
    return JwtVerifier(key, tuple(algorithms), audience, issuer)


def _key_id(token: str) -> str:
    """Return the name of the key that a token says has signed it; PyJWTError or ValueError."""
    named = jwt.get_unverified_header(token).get("kid")
    if not isinstance(named, str) or not named:
        raise ValueError("it does not name its key")
    return named


def _named(token: str) -> str | None:
    """Return the same, and None for a token that is going to be refused."""
    try:
        return _key_id(token)
    except (jwt.PyJWTError, ValueError):
        return None
