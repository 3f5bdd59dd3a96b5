"""What crosses the API about the secrets of a tenant: never their values, but on the way in."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from orchestrator.model.api import Wire

SECRET_BYTES = 64 * 1024
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$(?!\n)"
"""Letters, digits and _.- so that a name can stand in a path and in a log line as it is."""


class PutSecret(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `PUT /v1/tenants/{id}/secrets/{name}`: a text of 1 to 65,536 characters."""

    value: Annotated[str, Meta(min_length=1, max_length=SECRET_BYTES)]

    def __repr__(self) -> str:
        return "PutSecret(…)"


class SecretView(Wire, frozen=True, kw_only=True):
    """A secret: that it is there, and since when."""

    name: str
    created_at: datetime
    updated_at: datetime


class SecretList(Wire, frozen=True, kw_only=True):
    """The secrets of a tenant, by name."""

    secrets: list[SecretView]


class DeletedSecret(Wire, frozen=True, kw_only=True):
    """A secret that is gone."""

    tenant: str
    deleted: str


class RotatedKey(Wire, frozen=True, kw_only=True):
    """`secrets` were sealed anew, with a new key."""

    tenant: str
    secrets: int


class CacheTerms(Wire, frozen=True, kw_only=True):
    """Where the tenant's cache is, and how much it may keep.

    `apart` is true when a server of its own keeps it, and false when the tenant's schema does.
    """

    apart: bool
    max_entries: int
    max_bytes: int


class Credentials(Wire, frozen=True, kw_only=True):
    """A way into the tenant's schema, under the login of its tasks; `url` has the password."""

    tenant: str
    schema: str
    url: str
    cache: CacheTerms

    def __repr__(self) -> str:
        return f"Credentials(tenant={self.tenant!r}, …)"
