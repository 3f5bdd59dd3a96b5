"""Whom a request is for: what its sources say, whether they agree, whether that tenant may."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.model.api import TenantSummary
from orchestrator.model.errors import (
    TenantConflict,
    TenantNotFound,
    TenantNotNamed,
    TenantSuspended,
)
from orchestrator.model.ids import folded
from orchestrator.web.sources import Claim, Seen, Source

MAX_SHOWN = 64
"""So much of a name that nobody has is repeated to who sent it."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """The tenant of a request: its id, what it is shown as, and how it was named."""

    id: str
    name: str
    named_by: str


class Names:
    """All tenants by their ids and aliases, however these are written."""

    def __init__(self, tenants: Iterable[TenantSummary] = ()) -> None:
        found = list(tenants)
        self._tenants = {
            alias.casefold(): tenant for tenant in reversed(found) for alias in tenant.aliases
        }
        # An id goes before any alias, as it does for the daemon.
        self._tenants.update({tenant.id: tenant for tenant in found})

    def get(self, name: str) -> TenantSummary | None:
        """Return the tenant that has a name; None when nobody does."""
        return self._tenants.get(folded(name))


class TenantResolver:
    """Asks `sources` in their order; at least one has to name a tenant, and all the same one.

    The order tells which name an error speaks of first. `exempt` are the beginnings of paths that
    are for no tenant at all, such as `/health`.
    """

    def __init__(self, sources: Sequence[Source], *, exempt: Sequence[str] = ()) -> None:
        """Be given the sources; ValueError without any."""
        if not sources:
            raise ValueError("a resolver needs at least one source, such as Header()")
        self._sources = tuple(sources)
        self._claims = [each for each in sources if isinstance(each, Claim)]
        self._exempt = tuple("/" + each.strip("/") for each in exempt)

    def is_exempt(self, path: str) -> bool:
        """Tell whether a path is for no tenant."""
        return any(path == each or path.startswith(f"{each}/") for each in self._exempt)

    async def prepare(self, seen: Seen) -> None:
        """Have at hand what proves the request's token, off the event loop; before `named`."""
        for claim in self._claims:
            await claim.prepare(seen)

    def prepare_now(self, seen: Seen) -> None:
        """Do the same in a thread that may wait."""
        for claim in self._claims:
            claim.prepare_now(seen)

    def named(self, seen: Seen) -> dict[str, str]:
        """Return what each source names, by the source's label, without waiting for anything.

        Raises TenantNotNamed when there is nothing; InvalidRequest for a header that came twice;
        Unauthenticated for a bearer token that is not good; IssuerUnavailable when nobody can tell
        whether it is.
        """
        asked = ((source.label, source.named(seen)) for source in self._sources)
        found = {label: name for label, name in asked if name is not None}
        if not found:
            raise TenantNotNamed([source.label for source in self._sources])
        return found


def decide(named: Mapping[str, str], names: Names) -> Tenant:
    """Return the tenant that all of `named`, by their sources, lead to.

    Raises TenantNotFound for a name that nobody has, TenantConflict when they lead to several,
    TenantSuspended when the tenant is disabled.
    """
    found: dict[str, TenantSummary] = {}
    for source, name in named.items():
        tenant = names.get(name)
        if tenant is None:
            raise TenantNotFound(name[:MAX_SHOWN])
        found[source] = tenant
    tenant, *others = found.values()
    if any(other.id != tenant.id for other in others):
        raise TenantConflict(list(found))
    if not tenant.enabled:
        raise TenantSuspended(tenant.id)
    return Tenant(id=tenant.id, name=tenant.name, named_by=next(iter(found)))
