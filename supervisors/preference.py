"""Which of several nodes a tenant is best served by. A preference only: the lease is the truth.

Rendezvous hashing: every node is drawn a number for the tenant, the highest has it. So all nodes
agree without asking each other, and one that joins or leaves moves its own share alone.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b

from orchestrator.model.ids import TenantId


def preferred(tenant: TenantId, nodes: Collection[str]) -> str:
    """Return the one of `nodes` (names, at least one) that the tenant is best served by.

    >>> preferred(TenantId("acme"), ["a", "b", "c"]) in {"a", "b", "c"}
    True
    """
    return max(nodes, key=lambda node: (_draw(node, tenant), node))


def _draw(node: str, tenant: TenantId) -> bytes:
    return blake2b(f"{node}\0{tenant}".encode(), digest_size=8).digest()


class Neighbours:
    """The other nodes on the database, as the waker saw them last."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._all = frozenset({name})

    def seen(self, live: Collection[str]) -> None:
        """Note the names of the nodes that take tenants now, ours among them or not."""
        self._all = frozenset({self._name, *live})

    @property
    def alone(self) -> bool:
        """True while no other node takes tenants."""
        return len(self._all) == 1

    def better_for(self, tenant: TenantId) -> str | None:
        """Return the other node that the tenant is best served by; None when we are that."""
        found = preferred(tenant, self._all)
        return None if found == self._name else found
