"""What crosses the API about tokens: the token itself once, when it is made."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from orchestrator.model.api import Wire
from orchestrator.model.ids import TenantId
from orchestrator.model.text import LINE

Label = Annotated[str, Meta(max_length=100, pattern=LINE)]


class Role(StrEnum):
    """What a token of a tenant may do there; each may do what those before it may."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Tell whether it may do what `other` may.

        >>> Role.ADMIN.includes(Role.WRITE)
        True
        """
        order = list(Role)
        return order.index(self) >= order.index(other)


class Holder(Struct, frozen=True):
    """Whose a valid token is: a tenant's with a role, or without a tenant the installation's.

    That of a tenant that is `archived` opens nothing until it is back.
    """

    token: str
    tenant: TenantId | None
    role: Role
    archived: bool = False


class CreateAdminToken(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /v1/tokens`, which may be left out. `expires` is a time from now: "30d"."""

    name: Label = ""
    expires: str | None = None


class CreateToken(CreateAdminToken, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /v1/tenants/{id}/tokens`, which may be left out."""

    role: Role = Role.READ


class TokenView(Wire, frozen=True, kw_only=True):
    """A token, as far as it may be told. Without a tenant it is for the whole installation.

    `last_used_at` is within an hour of the truth.
    """

    id: str
    tenant: str | None
    role: Role
    name: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


class MintedToken(Wire, frozen=True, kw_only=True):
    """A new token, in the only answer that has it."""

    token: str
    view: TokenView

    def __repr__(self) -> str:
        return f"MintedToken({self.view.id}, …)"


class TokenList(Wire, frozen=True, kw_only=True):
    """Tokens, newest first, those that are not valid any more too."""

    tokens: list[TokenView]
