"""What a visitor is told when the request leads to no tenant that may be served."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from orchestrator.http.status import status_of
from orchestrator.model.errors import InsulaError, TenantSuspended, Unavailable

MEDIA = "application/problem+json"
RETRY_SECONDS = 5


class Refusal(msgspec.Struct, frozen=True):
    """An answer: the status, headers beside the content type, and the body."""

    status: int
    body: bytes
    headers: dict[str, str] = {}


def refusal(error: InsulaError) -> Refusal:
    """Return the answer to a request that `error` refuses.

    Hints are for those who run the place, and why a tenant is disabled or who does not answer is
    theirs too: the visitor gets the code and one sentence.
    """
    status = status_of(error)
    body = {"type": "about:blank", "status": status, "code": error.code, "detail": _told(error)}
    headers = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, Unavailable):
        headers["retry-after"] = str(RETRY_SECONDS)
    return Refusal(status=status, body=msgspec.json.encode(body), headers=headers)


def _told(error: InsulaError) -> str:
    if isinstance(error, TenantSuspended):
        return "this tenant is disabled"
    if isinstance(error, Unavailable):
        return "it can not be told now which tenant this is for"
    return str(error)
