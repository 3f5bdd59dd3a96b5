"""Sees to it that what a tenant's schema holds sealed depends on the tenant's own key."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from orchestrator.model.ids import TenantId, schema_of
from orchestrator.store.connect import Connection
from orchestrator.store.control import keys
from orchestrator.store.control.keys import Holder
from orchestrator.store.tenant.payloads import Payloads, payloads
from orchestrator.store.tenant.sealing import WrappingKeys
from orchestrator.store.tenant.secrets import RingKey, Vault, ring


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
    return await _taken_in(control, server, await keys.holder(control, tenant), installation, found)


async def keys_of_arrival(
    control: Connection, server: Connection, holder: Holder, installation: WrappingKeys
) -> Collection[UUID]:
    """Do what `own_keys` does for a tenant that the registry does not have yet."""
    found = await ring(server, schema_of(holder.tenant))
    if not found:
        return []
    return await _taken_in(control, server, holder, installation, found)


async def payload_keys(connection: Connection, tenant: TenantId) -> set[UUID]:
    """Return the data keys that have sealed what runs carry."""
    return {each.id for each in await ring(connection, schema_of(tenant)) if each.payloads}


async def opener(
    control: Connection, server: Connection, tenant: TenantId, installation: WrappingKeys
) -> Payloads:
    """Return what opens the payloads of a tenant, for reading."""
    stored = await ring(server, schema_of(tenant))
    named = [each.wrapped_by for each in stored]
    found = await keys.known(control, await keys.holder(control, tenant), installation, named)
    return payloads(stored, found, seal=False)


async def _taken_in(
    control: Connection,
    server: Connection,
    holder: Holder,
    installation: WrappingKeys,
    found: Sequence[RingKey],
) -> Collection[UUID]:
    named = [each.wrapped_by for each in found]
    own = await keys.own(control, holder, installation, named, others=True)
    return await Vault(holder.tenant, own).take_in(server)
