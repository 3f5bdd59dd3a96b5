"""Who may be awake when not all can."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import anyio
import pytest

from orchestrator.engine.engine import Engine
from orchestrator.model.clock import HandClock
from orchestrator.model.ids import TenantId
from orchestrator.settings.tenants import TenantConfig
from supervisors import places as places_module
from supervisors.messages import Stop
from supervisors.places import Places, may_sleep
from supervisors.slot import Slot, SlotState


@dataclass
class Load:
    """As much of an engine as is looked at."""

    busy: bool = False


class House:
    """Places for a few, and those who want in."""

    def __init__(self, total: int, residency: float) -> None:
        self.clock = HandClock()
        self.places = Places(total, residency=residency, clock=self.clock)
        self.slots: dict[str, Slot] = {}
        self.arrived: list[str] = []
        self.group: anyio.abc.TaskGroup

    def slot(self, name: str) -> Slot:
        if name not in self.slots:
            slot = Slot(TenantConfig(id=TenantId(name), name=name), mailbox=1)
            slot.attendant = self.places
            self.slots[name] = slot
        return self.slots[name]

    async def come(self, *names: str) -> None:
        """Have these want a place, in this order."""
        for name in names:
            self.group.start_soon(self._live, self.slot(name))
            await anyio.wait_all_tasks_blocked()

    async def _live(self, slot: Slot) -> None:
        if not await self.places.take(slot):
            return
        self.arrived.append(slot.config.id)
        slot.state = SlotState.RUNNING
        slot.engine = cast("Engine", Load())
        slot.awake_since = self.clock.monotonic()
        slot.use(slot.awake_since)
        while slot.stop_wanted is None:
            await slot.attention()
        slot.state, slot.stop_wanted = SlotState.DORMANT, None
        self.places.leave(slot)

    async def rest(self, *names: str) -> None:
        """Let these have nothing to do, in this order."""
        for name in names:
            self.slot(name).rest()
        await anyio.wait_all_tasks_blocked()

    def close(self) -> None:
        for slot in self.slots.values():
            slot.close()


@asynccontextmanager
async def house(total: int = 2, residency: float = 0.0) -> AsyncIterator[House]:
    made = House(total, residency)
    async with anyio.create_task_group() as made.group:
        made.group.start_soon(made.places.run)
        try:
            yield made
        finally:
            made.group.cancel_scope.cancel()
    made.close()


async def test_the_longest_idle_tenant_makes_room_for_the_longest_waiting() -> None:
    async with house() as h:
        await h.come("a", "b", "c", "d")
        assert h.arrived == ["a", "b"]
        await h.rest("b")
        assert h.arrived == ["a", "b", "c"]
        await h.rest("c", "a")
        assert h.arrived == ["a", "b", "c", "d"]
        assert h.slots["a"].state is SlotState.RUNNING


async def test_the_order_is_that_of_the_last_use() -> None:
    async with house(total=3) as h:
        await h.come("a", "b", "c")
        await h.rest("a", "b", "c")
        h.slots["a"].use(1.0)
        await h.rest("a")
        await h.come("d", "e")
        assert [n for n in "abc" if h.slots[n].state is SlotState.RUNNING] == ["a"]


async def test_no_more_leave_than_are_waited_for() -> None:
    async with house(total=3) as h:
        await h.come("a", "b", "c")
        await h.rest("a", "b", "c")
        await h.come("d")
        assert h.arrived == ["a", "b", "c", "d"]
        assert [n for n in "abc" if h.slots[n].state is SlotState.RUNNING] == ["b", "c"]


async def test_a_tenant_with_work_or_mail_stays() -> None:
    async with house() as h:
        await h.come("a", "b")
        await h.rest("a", "b")
        cast("Load", h.slots["a"].engine).busy = True
        h.slots["b"].poked = True
        await h.come("c")
        assert h.arrived == ["a", "b"]
        h.slots["b"].poked = False
        await h.rest("b")
        assert h.arrived == ["a", "b", "c"]


async def test_another_goes_when_work_comes_before_one_has_left() -> None:
    async with house() as h:
        await h.come("a", "b")
        await h.rest("a", "b")
        slot = h.slots["a"]
        h.group.start_soon(h._live, h.slot("c"))  # noqa: SLF001 - not yet waited for
        while slot.stop_wanted is None:
            await anyio.lowlevel.checkpoint()
        slot.stop_wanted = None
        slot.use(1.0)
        await anyio.wait_all_tasks_blocked()
        assert h.arrived == ["a", "b", "c"]
        assert h.slots["b"].state is SlotState.DORMANT


async def test_a_tenant_that_just_woke_stays() -> None:
    async with house(total=1, residency=5.0) as h:
        await h.come("a")
        await h.rest("a")
        await h.come("b")
        assert h.arrived == ["a"]
        h.clock.advance(5.0)
        h.places.idle(h.slots["a"])
        h.places.used(h.slots["a"])
        await h.rest("a")
        assert h.arrived == ["a", "b"]


async def test_a_tenant_that_was_asked_to_stop_wants_no_place() -> None:
    async with house(total=1) as h:
        await h.come("a", "b", "c")
        h.slots["b"].ask_to_stop(Stop.DRAIN)
        await anyio.wait_all_tasks_blocked()
        await h.rest("a")
        assert h.arrived == ["a", "c"]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the tenants that were looked at, each time that they were."""
    seen: list[str] = []

    def noting(slot: Slot) -> bool:
        seen.append(slot.config.id)
        return may_sleep(slot)

    monkeypatch.setattr(places_module, "may_sleep", noting)
    return seen


async def test_a_crowd_costs_a_look_or_two_for_each_who_gets_in(looks: list[str]) -> None:
    crowd = [f"t{number}" for number in range(600)]
    async with house(total=20) as h:
        for name in crowd:
            h.group.start_soon(h._live, h.slot(name))  # noqa: SLF001 - all at once
        for name in crowd:
            while name not in h.arrived:
                await anyio.lowlevel.checkpoint()
            h.slots[name].rest()
        assert h.arrived == crowd
    assert len(looks) <= 2 * len(crowd)
