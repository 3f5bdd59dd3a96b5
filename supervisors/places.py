"""Who may be awake when not all can: first come, first served; the longest idle makes room."""

from __future__ import annotations

import math
from collections import OrderedDict

import anyio

from orchestrator.engine.pulse import Pulse
from orchestrator.model.clock import Clock
from orchestrator.model.ids import TenantId
from supervisors.messages import Stop
from supervisors.patience import Line
from supervisors.slot import Slot, SlotState


class Places:
    """A bounded number of places. Nothing here looks at the tenants that sleep, or at all who wait.

    A tenant is left alone for its first `residency` seconds, so that two tenants do not push each
    other out in turns.
    """

    def __init__(self, total: int, *, residency: float, clock: Clock) -> None:
        self._total = total
        self._residency = residency
        self._clock = clock
        self._awake: dict[TenantId, Slot] = {}
        self._waiting: OrderedDict[TenantId, Slot] = OrderedDict()
        self._idle: OrderedDict[TenantId, Slot] = OrderedDict()
        self._leaving: set[TenantId] = set()
        self._line = Line()
        self._not_before = math.inf
        self._changed = Pulse()

    async def take(self, slot: Slot) -> bool:
        """Wait for a place; False when the tenant was asked to stop meanwhile."""
        if slot.stop_wanted is not None:
            return False
        tenant = slot.config.id
        self._waiting[tenant] = slot
        slot.waits_for_place = True
        slot.turn.join(self._line)
        self._seat()
        self._make_room()
        try:
            while tenant not in self._awake and slot.stop_wanted is None:
                await slot.attention()
        except BaseException:
            self._give_up(tenant)
            raise
        finally:
            slot.waits_for_place = False
            slot.turn.leave()
        if slot.stop_wanted is not None:
            self._give_up(tenant)
            return False
        return True

    def leave(self, slot: Slot) -> None:
        """Give the place to whoever waits longest."""
        self._give_up(slot.config.id)

    def old_enough(self, slot: Slot) -> bool:
        """Return whether the tenant's first seconds are over, in which it is left alone."""
        return self._clock.monotonic() >= slot.awake_since + self._residency

    def used(self, slot: Slot) -> None:
        """Note that the tenant works: it is not the one to make room."""
        tenant = slot.config.id
        self._idle.pop(tenant, None)
        if tenant in self._leaving and slot.stop_wanted is not Stop.EVICT:
            # Work came before it left: somebody else has to go.
            self._leaving.discard(tenant)
            self._make_room()

    def idle(self, slot: Slot) -> None:
        """Note that the tenant has nothing to do: of all idle ones, since the latest moment."""
        tenant = slot.config.id
        if tenant in self._awake and tenant not in self._idle:
            self._idle[tenant] = slot
            self._not_before = min(self._not_before, slot.awake_since + self._residency)
            self._make_room()

    async def run(self) -> None:
        """Make room when a tenant has been awake long enough to go."""
        while True:
            short = len(self._waiting) > len(self._leaving)
            pause = self._not_before - self._clock.monotonic() if short else math.inf
            with anyio.move_on_after(max(0.0, pause)):
                await self._changed.wait()
            self._make_room()

    def _give_up(self, tenant: TenantId) -> None:
        for places in (self._awake, self._waiting, self._idle):
            places.pop(tenant, None)
        self._leaving.discard(tenant)
        self._seat()

    def _seat(self) -> None:
        while self._waiting and len(self._awake) < self._total:
            tenant, slot = self._waiting.popitem(last=False)
            self._awake[tenant] = slot
            slot.turn.let_in(anyio.current_time())
            slot.look()

    def _make_room(self) -> None:
        """Ask for as many places as are waited for, and no more."""
        self._changed.beat()
        now = self._clock.monotonic()
        if now < self._not_before:
            return
        young: list[Slot] = []
        while self._idle and len(self._waiting) > len(self._leaving):
            tenant, slot = self._idle.popitem(last=False)
            if now < slot.awake_since + self._residency:
                young.append(slot)
            elif may_sleep(slot):  # else it says itself when it is idle again
                self._leaving.add(tenant)
                slot.ask_to_stop(Stop.EVICT)
        # Nobody else may go before the first of the young is old enough.
        ends = [slot.awake_since + self._residency for slot in young]
        self._not_before = now if self._idle else min(ends, default=math.inf)
        for slot in reversed(young):
            self._idle[slot.config.id] = slot
            self._idle.move_to_end(slot.config.id, last=False)


def may_sleep(slot: Slot) -> bool:
    """Return whether the tenant has nothing to do and was not asked to end already."""
    return (
        slot.state is SlotState.RUNNING
        and slot.stop_wanted is None
        and slot.engine is not None
        and not slot.engine.busy
        and not slot.has_mail
    )
