"""Why a tenant takes no mail, in the words that callers read: one place for each sentence."""

from __future__ import annotations

from orchestrator.model.errors import (
    DatabaseFull,
    DatabaseUnavailable,
    ShuttingDown,
    TenantHeld,
    TenantQuarantined,
    TenantRemoved,
    TenantSuspended,
)
from orchestrator.model.ids import TenantId
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.outage import Outage

SHUTDOWN_SECONDS = 5.0
"""How long a daemon that is restarted may take to be back, roughly."""


def shutting_down() -> ShuttingDown:
    """Say that the node drains."""
    return ShuttingDown("the daemon is shutting down", retry_after=SHUTDOWN_SECONDS)


def database_away(outage: Outage) -> DatabaseUnavailable:
    """Say what the keeper found: the database does not answer."""
    return DatabaseUnavailable(
        outage.sentence,
        hint="nothing was stored; try again when `insula status` says that it answers",
    )


def database_full(error: str) -> DatabaseFull:
    """Say what the last tenant found that tried: the server has no connection left."""
    return DatabaseFull(error, hint="nothing was stored; try again in a moment")


def quarantined(tenant: TenantId, error: str | None, *, retry_after: float) -> TenantQuarantined:
    """Say that the tenant is left alone, about `retry_after` seconds more."""
    return TenantQuarantined(
        f"tenant {tenant!r} is quarantined: {error}",
        hint=f"mend the cause, then insula tenant enable {tenant}; the next probe tries by itself",
        retry_after=retry_after,
    )


def suspended(config: TenantConfig) -> TenantSuspended | TenantHeld:
    """Say that the tenant is disabled, and why if an operator did it; or which verb holds it."""
    if config.enabled and config.held_for is not None:
        return TenantHeld(config.id, config.held_for)
    return TenantSuspended(
        config.id, because=config.disabled_because, by_its_file=config.disabled_by_its_file
    )


def removed(tenant: TenantId) -> TenantRemoved:
    """Say that no file declares the tenant any more."""
    return TenantRemoved(f"tenant {tenant!r} was removed")
