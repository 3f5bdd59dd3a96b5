"""What is looked at again and again: the tenants that are not simply asleep."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from orchestrator.model.ids import TenantId
from orchestrator.settings.tenants import TenantConfig
from supervisors.active import ActiveSet
from supervisors.slot import Slot, SlotState

MakeSlot = Callable[[str], Slot]


@pytest.fixture
def active() -> ActiveSet:
    return ActiveSet()


@pytest.fixture
def slot_of(active: ActiveSet) -> Iterator[MakeSlot]:
    made: list[Slot] = []

    def make(name: str) -> Slot:
        slot = Slot(TenantConfig(id=TenantId(name), name=name), mailbox=1)
        slot.note = active.note
        active.note(slot)
        made.append(slot)
        return slot

    yield make
    for slot in made:
        slot.close()


def seen(active: ActiveSet) -> list[str]:
    return sorted(slot.config.id for slot in active)


def test_a_tenant_is_active_from_when_it_wakes_until_it_sleeps(
    active: ActiveSet, slot_of: MakeSlot
) -> None:
    one, two = slot_of("one"), slot_of("two")
    assert seen(active) == []
    one.state = SlotState.STARTING
    two.state = SlotState.SUSPENDED
    assert seen(active) == ["one", "two"]
    two.state = SlotState.DORMANT
    assert seen(active) == ["one"]


def test_a_tenant_that_sleeps_and_has_not_given_back_its_lease_stays_in_view(
    active: ActiveSet, slot_of: MakeSlot
) -> None:
    one = slot_of("one")
    one.state = SlotState.STARTING
    one.held = 7
    one.state = SlotState.DORMANT
    assert seen(active) == ["one"]
    one.held = None
    assert seen(active) == []


def test_a_tenant_that_came_back_is_not_taken_for_the_one_that_went(
    active: ActiveSet, slot_of: MakeSlot
) -> None:
    slot_of("one").state = SlotState.GONE
    slot_of("one").state = SlotState.STARTING
    assert [slot.state for slot in active] == [SlotState.STARTING]
