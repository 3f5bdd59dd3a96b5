"""What operators and the verbs under way have decided of a tenant, beside what is declared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.model.ids import TenantId
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.control.tenants import TenantRow


def as_served(
    configs: Iterable[TenantConfig], stored: Mapping[TenantId, TenantRow]
) -> list[TenantConfig]:
    """Return the tenants that are not being deleted, each as operators have decided."""
    served = []
    for config in configs:
        row = stored.get(config.id)
        if row is None or row.usable:
            served.append(config if row is None else as_decided(config, row))
    return served


def as_decided(config: TenantConfig, row: TenantRow) -> TenantConfig:
    """Return a tenant as operators, and the verbs under way, have it."""
    config = config.known_as(shard=row.shard, origin=row.origin, registration=row.registration)
    if row.disabled_at is not None:
        config = config.disabled(row.disabled_because)
    return config if row.held_for is None else config.held(row.held_for)


def differs(row: TenantRow, known: TenantRow | None) -> bool:
    """Tell whether anything differs that slots are made from."""
    return known is None or _decided(row) != _decided(known)


def _decided(row: TenantRow) -> tuple[object, ...]:
    return (
        row.source,
        row.declaration,
        row.usable,
        row.disabled_at,
        row.disabled_because,
        row.held_for,
        row.shard,
        row.origin,
        row.registration,
    )
