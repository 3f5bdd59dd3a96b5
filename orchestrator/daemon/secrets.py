"""The secrets of tenants: what operators do to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from orchestrator.cache.tenant_cache import Bounds
from orchestrator.daemon.tenants import Tenants
from orchestrator.model.errors import TenantNotFound
from orchestrator.model.ids import CONTROL_SHARD, TenantId, schema_of
from orchestrator.model.secrets import CacheTerms, Credentials, RotatedKey, SecretView
from orchestrator.store.connect import Connection
from orchestrator.store.control import holds
from orchestrator.store.control.keys import Keyring
from orchestrator.store.shards import Shards
from orchestrator.store.tenant.login import try_login
from orchestrator.store.tenant.secrets import Listed, Vault, ring

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TenantSecrets:
    """`Secrets` of `http.services`. A tenant that was never used is provisioned first."""

    shards: Shards
    tenants: Tenants
    caches_apart: bool = False
    """Whether a server of its own keeps the caches of tenants."""

    async def put(self, tenant: TenantId, name: str, value: str) -> SecretView:
        """Store a secret."""
        async with self._vault(tenant) as (vault, connection):
            stored = await vault.put(connection, name, value)
        log.info("secret.set", tenant=tenant, secret=name)
        return _view(stored)

    async def remove(self, tenant: TenantId, name: str) -> None:
        """Delete a secret; SecretNotFound."""
        async with self._vault(tenant) as (vault, connection):
            await vault.remove(connection, name)
        log.info("secret.deleted", tenant=tenant, secret=name)

    async def listed(self, tenant: TenantId) -> list[SecretView]:
        """Return what may be told of the secrets, by name."""
        async with self._vault(tenant) as (vault, connection):
            return [_view(each) for each in await vault.listed(connection)]

    async def rotate(self, tenant: TenantId) -> RotatedKey:
        """Seal the secrets with a new key."""
        await self._keyring.renew(tenant)
        async with self._vault(tenant) as (vault, connection):
            secrets = await vault.rotate(connection)
        log.info("tenant.key_rotated", tenant=tenant, secrets=secrets)
        return RotatedKey(tenant=tenant, secrets=secrets)

    async def credentials(self, tenant: TenantId) -> Credentials:
        """Return the login of the tenant's tasks, which is made now if it was not yet.

        It is tried first: who asks may have been refused, because somebody has changed the role.
        """
        access = await self.tenants.prepare(tenant)
        if await try_login(access.app, name="insula credentials") == "refused":
            log.warning("login.repaired", tenant=tenant, role=access.app.user)
            access = await self.tenants.prepare(tenant, again=True)
        log.info("tenant.credentials_handed_out", tenant=tenant, role=access.app.user)
        bounds = self._cache_bounds(tenant)
        return Credentials(
            tenant=tenant,
            schema=schema_of(tenant),
            url=access.app.url,
            cache=CacheTerms(
                apart=self.caches_apart, max_entries=bounds.entries, max_bytes=bounds.bytes
            ),
        )

    def _cache_bounds(self, tenant: TenantId) -> Bounds:
        declared = self.tenants.snapshot.tenants.get(tenant, self.tenants.registered.get(tenant))
        if declared is None:
            raise TenantNotFound(tenant)
        return Bounds.of(declared.limits)

    @asynccontextmanager
    async def _vault(self, tenant: TenantId) -> AsyncIterator[tuple[Vault, Connection]]:
        await self.tenants.prepare(tenant)
        row = await self.shards.row(tenant)
        # What a shard knows of its tenants comes a moment later than what it would be asked for.
        keep = holds.keep_off if row.shard == CONTROL_SHARD else None
        async with self.shards.lend(row) as connection:
            named = [each.wrapped_by for each in await ring(connection, row.schema_name)]
        vault = Vault(tenant, await self._keyring.own(tenant, named), keep)
        async with self.shards.lend(row) as connection:
            yield vault, connection

    @property
    def _keyring(self) -> Keyring:
        return Keyring(self.shards.control, self.tenants.spec.key)


def _view(stored: Listed) -> SecretView:
    return SecretView(name=stored.name, created_at=stored.created_at, updated_at=stored.updated_at)
