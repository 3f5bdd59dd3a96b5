"""The secrets of a tenant: written and listed here, read by its tasks alone."""

from __future__ import annotations

import re

from litestar import delete, get, post, put
from litestar.params import FromPath, RawBody

from orchestrator.http import body as bodies
from orchestrator.http.audit import Recorded
from orchestrator.http.injected import Injected
from orchestrator.http.openapi import problems, takes
from orchestrator.model.errors import InvalidRequest
from orchestrator.model.fit import fit
from orchestrator.model.secrets import (
    NAME_PATTERN,
    DeletedSecret,
    PutSecret,
    RotatedKey,
    SecretList,
    SecretView,
)


@get("/v1/tenants/{tenant:str}/secrets", tags=["secrets"], responses=problems(404, 422, 503))
async def list_secrets(services: Injected, tenant: FromPath[str]) -> SecretList:
    """List the names of the secrets. No route tells a value."""
    return SecretList(secrets=await services.secrets.listed(services.platform.resolve(tenant)))


@put(
    "/v1/tenants/{tenant:str}/secrets/{name:str}",
    tags=["secrets"],
    operation_class=takes(PutSecret),
    responses=problems(403, 404, 422, 503),
)
async def put_secret(
    services: Injected, record: Recorded, tenant: FromPath[str], name: FromPath[str], body: RawBody
) -> SecretView:
    """Store a secret, in place of the one of that name. Tasks that read it from now on get it."""
    known_as = services.platform.resolve(tenant)
    async with record.of(known_as, "secret.set", name):
        wanted = _fit(body)
        return await services.secrets.put(known_as, _checked(name), wanted.value)


@delete(
    "/v1/tenants/{tenant:str}/secrets/{name:str}",
    status_code=200,
    tags=["secrets"],
    responses=problems(403, 404, 422, 503),
)
async def delete_secret(
    services: Injected, record: Recorded, tenant: FromPath[str], name: FromPath[str]
) -> DeletedSecret:
    """Delete a secret. A task that reads it from now on fails."""
    known_as = services.platform.resolve(tenant)
    async with record.of(known_as, "secret.delete", name):
        await services.secrets.remove(known_as, name)
    return DeletedSecret(tenant=known_as, deleted=name)


@post(
    "/v1/tenants/{tenant:str}/rotate-key",
    status_code=200,
    tags=["secrets"],
    responses=problems(403, 404, 422, 503),
)
async def rotate_key(services: Injected, record: Recorded, tenant: FromPath[str]) -> RotatedKey:
    """Seal the secrets with a new key, under the installation's key in force."""
    known_as = services.platform.resolve(tenant)
    async with record.of(known_as, "tenant.rotate_key"):
        return await services.secrets.rotate(known_as)


def _fit(body: bytes) -> PutSecret:
    """Return the body; an error of it tells the shape that was wanted, and nothing of the value."""
    try:
        return fit(bodies.read(body), PutSecret)
    except InvalidRequest:
        raise InvalidRequest(
            'the body is not {"value": TEXT} with 1 to 65536 characters',
            hint="a secret that is no text can be stored as base64",
        ) from None


def _checked(name: str) -> str:
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise InvalidRequest(
            f"{name!r} can not name a secret",
            hint="letters, digits and _ . - from the second character on, at most 128",
        )
    return name


ROUTES = (list_secrets, put_secret, delete_secret, rotate_key)
