"""The part of the small platform that keeps secrets."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.model import errors
from orchestrator.model.ids import TenantId
from orchestrator.model.secrets import CacheTerms, Credentials, RotatedKey, SecretView


class HandMadeSecrets:
    """Remembers the values as they came."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], str] = {}

    async def put(self, tenant: TenantId, name: str, value: str) -> SecretView:
        self.values[tenant, name] = value
        return _view(name)

    async def remove(self, tenant: TenantId, name: str) -> None:
        if self.values.pop((tenant, name), None) is None:
            raise errors.SecretNotFound(tenant, name)

    async def listed(self, tenant: TenantId) -> list[SecretView]:
        return [_view(name) for of, name in sorted(self.values) if of == tenant]

    async def rotate(self, tenant: TenantId) -> RotatedKey:
        return RotatedKey(tenant=tenant, secrets=len(self.values))

    async def credentials(self, tenant: TenantId) -> Credentials:
        return Credentials(
            tenant=tenant,
            schema=f"tenant_{tenant}",
            url=f"postgresql://a_{tenant}:pw@/db",
            cache=CacheTerms(apart=False, max_entries=100, max_bytes=1000),
        )


def _view(name: str) -> SecretView:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return SecretView(name=name, created_at=at, updated_at=at)
