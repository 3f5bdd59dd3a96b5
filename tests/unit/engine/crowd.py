"""Tenants that compete for a node's slots, on a clock of their own: who started what, and when."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from orchestrator.engine.slots import NodeSlots, TenantSlots


class Tenant:
    """Has always more to start; each attempt takes `seconds`."""

    def __init__(self, crowd: Crowd, *, weight: int, seconds: float) -> None:
        self.weight = weight
        self.seconds = seconds
        self.starts: list[int] = []
        """The number of each start, counted over all tenants."""

        self._crowd = crowd
        self.slots: TenantSlots = crowd.node.tenant(limit=None, weight=weight, wake=self.dispatch)

    def dispatch(self) -> None:
        """Start what may start."""
        while self.slots.take():
            self.starts.append(self._crowd.start(self))
        self.slots.settle()

    def end(self, seconds: float) -> None:
        """End an attempt that took so long."""
        self.slots.give_back(seconds)
        self.dispatch()


class Crowd:
    """A node whose slots are all taken when its tenants come, one after the other."""

    def __init__(self, total: int) -> None:
        self.node = NodeSlots(total)
        self.now = 0.0
        self._count = itertools.count()
        self._under_way: list[tuple[float, int, float, Tenant]] = []

    def start(self, tenant: Tenant) -> int:
        """Begin an attempt; return its number."""
        number = next(self._count)
        end = self.now + tenant.seconds
        heapq.heappush(self._under_way, (end, number, tenant.seconds, tenant))
        return number

    def come(self, *kinds: tuple[int, float]) -> list[Tenant]:
        """Add tenants of these weights and seconds an attempt."""
        tenants = [Tenant(self, weight=weight, seconds=seconds) for weight, seconds in kinds]
        for tenant in tenants:
            tenant.dispatch()
        return tenants

    def run(self, *, until: Callable[[], bool]) -> None:
        """Let attempts end until it is so."""
        while not until():
            self.now, _, seconds, tenant = heapq.heappop(self._under_way)
            tenant.end(seconds)
