"""The tokens of the API in the control schema: their hashes, whose they are, how long they last."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from orchestrator.model.bearer import Bearer
from orchestrator.model.errors import TooManyTokens
from orchestrator.model.ids import TenantId
from orchestrator.model.tokens import Role
from orchestrator.store import sql
from orchestrator.store.connect import Connection

LIVE_TOKENS = 1000
"""So many valid tokens a tenant may have: more is a program that makes one for each request."""

_QUERIES = sql.load(__name__)
FIND = _QUERIES["find"]
NOTE_USE = _QUERIES["note_use"]
IS_LIVE = _QUERIES["is_live"]
HOLD_OWNER = _QUERIES["hold_owner"]
COUNT_LIVE = _QUERIES["count_live"]
MINT = _QUERIES["mint"]
LIST_OF = _QUERIES["list_of"]
OWNER_OF = _QUERIES["owner_of"]
REVOKE = _QUERIES["revoke"]


class Found(msgspec.Struct, frozen=True):
    """What a request needs to know of a token; `stale` when its use should be noted.

    `archived` when its tenant is, which has that `registration`.
    """

    hash: bytes
    tenant: TenantId | None
    role: str
    live: bool
    stale: bool
    archived: bool
    registration: UUID | None


class Kept(msgspec.Struct, frozen=True):
    """A token without its hash."""

    id: str
    tenant: TenantId | None
    role: str
    name: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A token that is to be made: for a tenant, or without one for the whole installation.

    `made_with` is the id of the token that asks for it, where one does.
    """

    bearer: Bearer
    tenant: TenantId | None
    role: Role
    name: str
    created_by: str
    lasts: timedelta | None
    made_with: str | None = None


async def find(connection: Connection, bearer: Bearer) -> Found | None:
    """Return the token that `bearer` proves to be, also when it is not valid any more."""
    row = await connection.fetchrow(FIND, bearer.id)
    found = Found(*row) if row is not None else None
    return found if bearer.proves(found.hash if found else None) else None


async def note_use(connection: Connection, id: str) -> None:
    """Note that a token is in use; within an hour of the last note it writes nothing."""
    await connection.execute(NOTE_USE, id)


async def is_live(connection: Connection, id: str, tenant: TenantId | None) -> bool:
    """Return whether a token is valid, and that tenant's, still."""
    found: bool = await connection.fetchval(IS_LIVE, id, tenant)
    return found


async def mint(connection: Connection, draft: Draft) -> Kept | None:
    """Keep a new token; None when there is no such tenant, or not for long, or its maker is void.

    It lasts no longer than its maker. TooManyTokens when the tenant has all that it may have.
    """
    async with connection.transaction():
        if draft.tenant is not None:
            # One after the other, so that each counts those before: two would both be the last.
            await connection.execute(HOLD_OWNER, draft.tenant)
            if await connection.fetchval(COUNT_LIVE, draft.tenant) >= LIVE_TOKENS:
                raise TooManyTokens(draft.tenant, LIVE_TOKENS)
        row = await connection.fetchrow(
            MINT,
            draft.bearer.id,
            draft.bearer.hash,
            draft.tenant,
            draft.role,
            draft.name,
            draft.created_by,
            draft.lasts,
            draft.made_with,
        )
    return None if row is None else Kept(*row)


async def list_of(connection: Connection, tenant: TenantId | None) -> list[Kept]:
    """Return the tokens of a tenant, or those of the installation, newest first."""
    return [Kept(*row) for row in await connection.fetch(LIST_OF, tenant)]


async def owner_of(connection: Connection, id: str) -> TenantId | None:
    """Return the tenant whose a token is; None for the installation's, or when there is none."""
    tenant: TenantId | None = await connection.fetchval(OWNER_OF, id)
    return tenant


async def revoke(connection: Connection, id: str, tenant: TenantId | None) -> Kept | None:
    """Make a token of a tenant, or of the installation, void; None when there is no such one."""
    row = await connection.fetchrow(REVOKE, id, tenant)
    return None if row is None else Kept(*row)
