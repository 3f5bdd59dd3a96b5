"""The tokens of the small platform, in memory."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from orchestrator.model import errors
from orchestrator.model.bearer import Bearer, new_token
from orchestrator.model.ids import TenantId
from orchestrator.model.tokens import CreateToken, Holder, Role, TokenView


class HandMadeTokens:
    """Tokens by id with their hashes; `operator` is one of the whole installation.

    Those of tenants that are `put_away` open nothing.
    """

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Bearer, TokenView]] = {}
        self.operator = self.make(None, Role.ADMIN)
        self.looks = 0
        self.put_away: set[str] = set()

    def make(self, tenant: str | None, role: Role) -> str:
        """Return a new token."""
        text, bearer = new_token()
        self._keep(bearer, tenant, CreateToken(role=role), "uid 0")
        return text

    async def holder_of(self, bearer: Bearer) -> Holder | None:
        self.looks += 1
        kept, view = self.kept.get(bearer.id, (None, None))
        if kept is None or view is None or not bearer.proves(kept.hash) or view.revoked_at:
            return None
        tenant = None if view.tenant is None else TenantId(view.tenant)
        return Holder(bearer.id, tenant, view.role, archived=view.tenant in self.put_away)

    async def is_live(self, holder: Holder) -> bool:
        _, view = self.kept[holder.token]
        return view.revoked_at is None

    async def mint(
        self,
        bearer: Bearer,
        tenant: TenantId | None,
        wanted: CreateToken,
        *,
        by: str,
        maker: Holder | None,  # noqa: ARG002 - these last for ever
    ) -> TokenView:
        return self._keep(bearer, tenant, wanted, by)

    async def listed(self, tenant: TenantId | None) -> list[TokenView]:
        return [view for _, view in self.kept.values() if view.tenant == tenant][::-1]

    async def owner_of(self, id: str) -> TenantId | None:
        _, view = self.kept.get(id, (None, None))
        return None if view is None or view.tenant is None else TenantId(view.tenant)

    async def revoke(self, id: str, tenant: TenantId | None) -> TokenView:
        bearer, view = self.kept.get(id, (None, None))
        if bearer is None or view is None or view.tenant != tenant:
            raise errors.TokenNotFound(id)
        view = msgspec.structs.replace(view, revoked_at=view.revoked_at or datetime.now(UTC))
        self.kept[id] = bearer, view
        return view

    def void(self, text: str) -> None:
        """Revoke a token, as if another node had."""
        bearer, view = self.kept[text.split("_")[1]]
        self.kept[bearer.id] = bearer, msgspec.structs.replace(view, revoked_at=datetime.now(UTC))

    def _keep(self, bearer: Bearer, tenant: str | None, wanted: CreateToken, by: str) -> TokenView:
        view = TokenView(
            id=bearer.id,
            tenant=tenant,
            role=wanted.role,
            name=wanted.name,
            created_at=datetime.now(UTC),
            created_by=by,
        )
        self.kept[bearer.id] = bearer, view
        return view
