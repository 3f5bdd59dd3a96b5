"""Who may run a task now: a bound for the node, shared by weight, and a bound for each tenant."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable

from orchestrator.engine.residence import NodeMemory
from orchestrator.engine.turns import Pace


class NodeSlots:
    """The node's task slots, and the memory for runs that its tenants share.

    While any tenant waits, freed slots go to the tenant that has waited longest until its turn is
    over, and then it is the next one's: round robin. A turn is as many slots as the tenant's
    weight, or more when its attempts are so short that nobody notices (`turns`).
    """

    def __init__(self, total: int, memory: NodeMemory | None = None) -> None:
        self.total = total
        self.free = total
        self.memory = memory or NodeMemory()
        self._line: deque[TenantSlots] = deque()
        self._solo_taken = False
        self._solo_line: deque[Callable[[], None]] = deque()
        self._offering = False

    @property
    def used(self) -> int:
        """How many slots are taken or granted."""
        return self.total - self.free

    def tenant(self, *, limit: int | None, weight: int, wake: Callable[[], None]) -> TenantSlots:
        """Return the share of one tenant; `wake` is called when slots were granted to it."""
        return TenantSlots(self, limit=limit, weight=weight, wake=wake)

    def claim_solo(self, wake: Callable[[], None]) -> bool:
        """Take the one place for tasks suspected of crashing the process.

        `wake` is called later when it is refused.
        """
        if self._solo_taken:
            if wake not in self._solo_line:
                self._solo_line.append(wake)
            return False
        self._solo_taken = True
        return True

    def release_solo(self) -> None:
        """Free that place and wake all who wait for it; the first to take it has it."""
        self._solo_taken = False
        waiting, self._solo_line = self._solo_line, deque()
        for wake in waiting:
            wake()

    def claim(self, tenant: TenantSlots) -> bool:
        """Take a slot for `tenant`, or let it wait: first while its turn lasts, else last."""
        if self.free and not self._line:
            self.free -= 1
            return True
        if tenant not in self._line:
            (self._line.appendleft if tenant.turn else self._line.append)(tenant)
        return False

    def release(self, count: int) -> None:
        """Free slots and offer them along the line."""
        self.free += count
        # A tenant returns what it does not need while it is offered something: the loop that
        # offers sees that too, and a long line of such tenants does not become a deep stack.
        if self._line and not self._offering:
            self._offering = True
            try:
                self._offer()
            finally:
                self._offering = False

    def forget(self, tenant: TenantSlots, wake: Callable[[], None]) -> None:
        """Take `tenant`, which is woken by `wake`, out of the lines."""
        if tenant in self._line:
            self._line.remove(tenant)
        if wake in self._solo_line:
            self._solo_line.remove(wake)

    def _offer(self) -> None:
        while self.free and self._line:
            tenant = self._line.popleft()
            tenant.turn = tenant.turn or tenant.next_turn
            granted = min(self.free, tenant.turn, tenant.room)
            if granted > 0:
                self.free -= granted
                tenant.turn -= granted
                tenant.grant(granted)
            if tenant not in self._line:
                tenant.turn = 0


class TenantSlots:
    """One tenant's share of the node's slots, never more than its limit."""

    def __init__(
        self, node: NodeSlots, *, limit: int | None, weight: int, wake: Callable[[], None]
    ) -> None:
        self.used = 0
        self.turn = 0
        self.weight = weight
        self._limit = limit
        self._granted = 0
        self._pace = Pace()
        self._node = node
        self._wake = wake

    def resize(self, *, limit: int | None, weight: int) -> None:
        """Change the tenant's limit and weight; what runs above a lower limit is let end."""
        self._limit = limit
        self.weight = weight

    @property
    def limit(self) -> int:
        """How many slots the tenant can have at most."""
        return min(self._limit or self._node.total, self._node.total)

    @property
    def room(self) -> int:
        """How many more slots the tenant's own limit allows."""
        return (self._limit or sys.maxsize) - self.used - self._granted

    @property
    def next_turn(self) -> int:
        """How many slots the tenant may get before it is the next one's turn."""
        used = self.used + self._granted
        return self._pace.turn(total=self._node.total, weight=self.weight, used=used)

    def take(self) -> bool:
        """Take a slot; False when there is none, and then `wake` follows once there is."""
        if self._granted:
            self._granted -= 1
        elif self.room <= 0 or not self._node.claim(self):
            return False
        self.used += 1
        return True

    def give_back(self, seconds: float | None = None) -> None:
        """Free a slot that was taken; `seconds` is how long the attempt in it took, if one did."""
        if seconds is not None:
            self._pace.note(seconds)
        self.used -= 1
        self._node.release(1)

    def take_solo(self) -> bool:
        """Take the node's one place for suspects; `wake` follows when there is none."""
        return self._node.claim_solo(self._wake)

    def give_back_solo(self) -> None:
        """Free that place."""
        self._node.release_solo()

    def settle(self) -> None:
        """Return what was granted and not taken."""
        granted, self._granted = self._granted, 0
        if granted:
            self._node.release(granted)

    def leave(self) -> None:
        """Return everything: the tenant stops."""
        self._node.forget(self, self._wake)
        held, self.used, self._granted = self.used + self._granted, 0, 0
        if held:
            self._node.release(held)

    def grant(self, count: int) -> None:
        """Let the tenant take `count` slots; the node calls this."""
        self._granted += count
        self._wake()
