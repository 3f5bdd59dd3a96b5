"""Which names are taken, by which tenant: its id and its aliases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.model.ids import TenantId, folded
from orchestrator.settings.tenants import TenantConfig


class Names:
    """Every id and alias, folded, with its tenant.

    An id goes before any alias, and an alias of a file before one that was registered. What one
    tenant changes costs the same however many others there are.
    """

    def __init__(
        self, files: Iterable[TenantConfig] = (), registered: Iterable[TenantConfig] = ()
    ) -> None:
        self._ids: set[str] = set()
        self._claims: dict[str, list[TenantId]] = {}
        self._aliases: dict[str, TenantId] = {}
        for config in (*files, *registered):
            self.add(config)

    @property
    def aliases(self) -> Mapping[str, TenantId]:
        """The aliases that lead to a tenant, to look at: they follow what is added and removed."""
        return self._aliases

    def get(self, name: str) -> TenantId | None:
        """Return the tenant that has a name, however it is written; None when nobody does."""
        wanted = folded(name)
        return TenantId(wanted) if wanted in self._ids else self._aliases.get(wanted)

    def add(self, config: TenantConfig) -> None:
        """Give a tenant its names. Whoever had an alias before keeps it."""
        self._ids.add(config.id)
        for name in config.aliases:
            self._claims.setdefault(name.casefold(), []).append(config.id)
        self._decide(config)

    def remove(self, config: TenantConfig) -> None:
        """Take a tenant's names back, those that it was added with."""
        self._ids.discard(config.id)
        for name in config.aliases:
            self._claims[name.casefold()].remove(config.id)
        self._decide(config)

    def _decide(self, config: TenantConfig) -> None:
        for name in _names(config):
            claims = self._claims.get(name)
            if claims and name not in self._ids:
                self._aliases[name] = claims[0]
            else:
                self._aliases.pop(name, None)
            if claims == []:
                del self._claims[name]


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
