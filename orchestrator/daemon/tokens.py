"""The tokens of the API: made, looked up for each request, and revoked on every node at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import anyio
import msgspec
import structlog

from orchestrator.daemon.tenants import Tenants
from orchestrator.model.bearer import Bearer
from orchestrator.model.errors import InvalidRequest, TenantNotFound, TokenNotFound, Unauthenticated
from orchestrator.model.ids import TenantId
from orchestrator.model.tokens import CreateToken, Holder, Role, TokenView
from orchestrator.settings.duration import Duration
from orchestrator.store.connect import Connection, ControlPool
from orchestrator.store.control import tokens
from orchestrator.store.control.tokens import Draft, Kept
from supervisors.refusals import database_away
from supervisors.standing import Standing

LONGEST = timedelta(days=3650)
AT_ONCE = ControlPool.SIZE // 2
"""Strangers who send tokens must leave connections for those who work."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CatchUp:
    """Has this node know a tenant as the registry has it by now, and no former one of its id.

    Another node may have deleted that one, and registered this one, since this node's last look.
    """

    tenants: Tenants

    async def __call__(self, tenant: TenantId, registration: UUID | None) -> None:
        """Look now if that is another one than is known here."""
        root = self.tenants.root
        slot = None if root is None else root.slots.get(tenant)
        if slot is not None and slot.config.registration != registration:
            await self.tenants.refresh()


@dataclass(frozen=True)
class TokenRegistry:
    """`Tokens` of `http.services`. Nothing of a token is remembered here."""

    control: ControlPool
    standing: Standing
    catch_up: Callable[[TenantId, UUID | None], Awaitable[None]]
    _places: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(AT_ONCE))

    async def holder_of(self, bearer: Bearer) -> Holder | None:
        """Return whose a valid token is; DatabaseUnavailable when nobody can tell."""
        async with self._connection() as connection:
            found = await tokens.find(connection, bearer)
            if found is None or not found.live:
                return None
            if found.stale:
                await tokens.note_use(connection, bearer.id)
        if found.tenant is not None:
            await self.catch_up(found.tenant, found.registration)
        return Holder(bearer.id, found.tenant, Role(found.role), found.archived)

    async def is_live(self, holder: Holder) -> bool:
        """Return whether the token is still valid, and still that tenant's."""
        async with self._connection() as connection:
            return await tokens.is_live(connection, *_of(holder))

    async def mint(
        self,
        bearer: Bearer,
        tenant: TenantId | None,
        wanted: CreateToken,
        *,
        by: str,
        maker: Holder | None,
    ) -> TokenView:
        """Keep a new token, which lasts no longer than that of `maker`.

        Raises TenantNotFound, TooManyTokens, InvalidRequest for how long it is to last, and
        Unauthenticated when the maker's has become void.
        """
        draft = Draft(
            bearer=bearer,
            tenant=tenant,
            role=wanted.role,
            name=wanted.name,
            created_by=by,
            lasts=_lasts(wanted.expires),
            made_with=maker.token if maker else None,
        )
        async with self._connection() as connection:
            kept = await tokens.mint(connection, draft)
            void = not kept and maker and not await tokens.is_live(connection, *_of(maker))
        if void:
            raise Unauthenticated
        if kept is None:
            raise TenantNotFound(tenant or "")
        log.info("token.created", token=kept.id, tenant=tenant, role=kept.role, by=by)
        return _view(kept)

    async def listed(self, tenant: TenantId | None) -> list[TokenView]:
        """Return the tokens of a tenant, or those of the installation, newest first."""
        async with self._connection() as connection:
            return [_view(each) for each in await tokens.list_of(connection, tenant)]

    async def owner_of(self, id: str) -> TenantId | None:
        """Return the tenant whose a token is; None for the installation's, or for none."""
        async with self._connection() as connection:
            return await tokens.owner_of(connection, id)

    async def revoke(self, id: str, tenant: TenantId | None) -> TokenView:
        """Make a token of a tenant, or of the installation, void at once; TokenNotFound."""
        async with self._connection() as connection:
            kept = await tokens.revoke(connection, id, tenant)
        if kept is None:
            raise TokenNotFound(id)
        log.info("token.revoked", token=kept.id, tenant=kept.tenant)
        return _view(kept)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        if self.standing.outage is not None:
            raise database_away(self.standing.outage)
        async with self._places, self.control.acquire() as connection:
            yield connection


def _lasts(text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        lasts = Duration.parse(text)
    except ValueError as error:
        raise InvalidRequest(f"`$.expires`: {error}") from None
    if not timedelta() < lasts <= LONGEST:
        raise InvalidRequest(
            f"`$.expires`: a token lasts longer than nothing and up to {LONGEST.days} days",
            hint="without `expires` it lasts until it is revoked",
        )
    return lasts


def _of(holder: Holder) -> tuple[str, TenantId | None]:
    return holder.token, holder.tenant


def _view(kept: Kept) -> TokenView:
    fields = {**msgspec.structs.asdict(kept), "role": Role(kept.role)}
    return TokenView(**fields)
