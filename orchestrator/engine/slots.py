"""Who may run a task now: a bound for the node, shared by weight, and a bound for each tenant."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class NodeSlots:
    """The node's task slots.

    While any tenant waits, a freed slot goes to the tenant that has waited longest, as many slots
    at a time as its weight, and then that tenant goes to the end of the line: weighted round robin.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.free = total
        self._line: deque[TenantSlots] = deque()
        self._solo_taken = False
        self._solo_line: deque[Callable[[], None]] = deque()

    @property
    def used(self) -> int:
        """How many slots are taken or granted."""
        return self.total - self.free

    def tenant(self, *, limit: int | None, weight: int, wake: Callable[[], None]) -> TenantSlots:
        """Return the share of one tenant; `wake` is called when slots were granted to it."""
        return TenantSlots(self, limit=limit or self.total, weight=weight, wake=wake)

    def claim_solo(self, wake: Callable[[], None]) -> bool:
        """Take the one place for tasks suspected of crashing the process; `wake` when it is refused."""
        if self._solo_taken:
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
        """Take a slot for `tenant`, or put it at the end of the line."""
        if self.free and not self._line:
            self.free -= 1
            return True
        if tenant not in self._line:
            self._line.append(tenant)
        return False

    def release(self, count: int) -> None:
        """Free slots and offer them along the line."""
        self.free += count
        while self.free and self._line:
            tenant = self._line.popleft()
            granted = min(self.free, tenant.weight, tenant.room)
            if granted:
                self.free -= granted
                tenant.grant(granted)

    def forget(self, tenant: TenantSlots) -> None:
        """Take `tenant` out of the line."""
        if tenant in self._line:
            self._line.remove(tenant)


class TenantSlots:
    """One tenant's share of the node's slots, never more than `limit`."""

    def __init__(
        self, node: NodeSlots, *, limit: int, weight: int, wake: Callable[[], None]
    ) -> None:
        self.limit = limit
        self.weight = weight
        self.used = 0
        self._granted = 0
        self._node = node
        self._wake = wake

    def resize(self, *, limit: int | None, weight: int) -> None:
        """Change the tenant's limit and weight; what runs above a lower limit is let end."""
        self.limit = limit or self._node.total
        self.weight = weight

    @property
    def room(self) -> int:
        """How many more slots the tenant's own limit allows."""
        return max(0, self.limit - self.used - self._granted)

    def take(self) -> bool:
        """Take a slot; False when there is none, and then `wake` follows once there is."""
        if self._granted:
            self._granted -= 1
        elif self.room <= 0 or not self._node.claim(self):
            return False
        self.used += 1
        return True

    def give_back(self) -> None:
        """Free a slot that was taken."""
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
        self._node.forget(self)
        held, self.used, self._granted = self.used + self._granted, 0, 0
        if held:
            self._node.release(held)

    def grant(self, count: int) -> None:
        """Let the tenant take `count` slots; the node calls this."""
        self._granted += count
        self._wake()
