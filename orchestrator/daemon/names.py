"""Which names are taken, by which tenant: its id and its aliases. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.model.ids import TenantId
from orchestrator.settings.tenants import TenantConfig


def taken(
    files: Iterable[TenantConfig], registered: Iterable[TenantConfig]
) -> Mapping[str, TenantId]:
    """Return every id and alias, folded, with its tenant.

    An id goes before any alias, and an alias of a file before one that was registered.
    """
    every = [*registered, *files]
    aliases = {alias.casefold(): config.id for config in every for alias in config.aliases}
    return aliases | {config.id: config.id for config in every}


def clashes(files: Iterable[TenantConfig], registered: Iterable[TenantConfig]) -> list[str]:
    """Return a sentence for each name that a tenant of a file and a registered one both have."""
    theirs = {name: config.id for config in registered for name in _names(config)}
    return [
        f"tenant {config.id!r} of a file and tenant {theirs[name]!r}, which was registered at run "
        f"time, both have the name {name!r}: change one of them"
        for config in files
        for name in _names(config)
        if theirs.get(name, config.id) != config.id
    ]


def _names(config: TenantConfig) -> list[str]:
    return [config.id, *(alias.casefold() for alias in config.aliases)]
