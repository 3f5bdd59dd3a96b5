"""Sees to it that what a tenant's schema holds sealed depends on the tenant's own key."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from orchestrator.model.ids import TenantId, schema_of
from orchestrator.store.connect import Connection
from orchestrator.store.control import keys
from orchestrator.store.tenant.payloads import Payloads, payloads
from orchestrator.store.tenant.sealing import WrappingKeys
from orchestrator.store.tenant.secrets import Vault, ring


async def own_keys(
    control: Connection, server: Connection, tenant: TenantId, installation: WrappingKeys
) -> Collection[UUID]:
    """Seal the data keys of a tenant with its own key, and return those that are erased.

    They come from an archive, from another tenant, or from a time before tenants had keys.
    `control` leads to the registry and `server` to the tenant's schema. Done again it does nothing.
    """
    found = await ring(server, schema_of(tenant))
    if not found:
        return []
    named = [each.wrapped_by for each in found]
    own = await keys.own(control, tenant, installation, also=named)
    return await Vault(tenant, own).take_in(server)


async def payload_keys(connection: Connection, tenant: TenantId) -> set[UUID]:
    """Return the data keys that have sealed what runs carry."""
    return {each.id for each in await ring(connection, schema_of(tenant)) if each.payloads}


async def opener(
    control: Connection, server: Connection, tenant: TenantId, installation: WrappingKeys
) -> Payloads:
    """Return what opens the payloads of a tenant, for reading."""
    stored = await ring(server, schema_of(tenant))
    named = [each.wrapped_by for each in stored]
    found = await keys.known(control, tenant, installation, named)
    return payloads(stored, found, seal=False)
