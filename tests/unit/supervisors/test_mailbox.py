"""A mailbox is bounded, holds up nobody, and is never left with mail that nobody answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from orchestrator.model.ids import TenantId
from orchestrator.settings.model import SupervisionSection
from orchestrator.settings.tenants import TenantConfig
from supervisors.slot import SlotState
from tests.unit.supervisors.stage import SUPERVISION, Scripted, Stage

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
BEYOND = 3
"""So many more than there is room for are sent."""


def config(tenant: TenantId, *, enabled: bool = True) -> TenantConfig:
    return TenantConfig(id=tenant, name=tenant, enabled=enabled)


@pytest.fixture
def full(scripted: None) -> Iterator[Stage]:
    """Yield a root whose first tenant starts, with more mail than its box has room for."""
    stage = Scripted.stage = Stage()
    stage.declare([config(ACME), config(GLOBEX)])
    for _ in range(SUPERVISION.mailbox + BEYOND):
        stage.submit(ACME)
    yield stage
    stage.end()


def test_a_mailbox_has_room_for_256() -> None:
    assert SupervisionSection().mailbox == 256


def test_what_is_too_much_is_refused_at_once_and_the_rest_is_served(full: Stage) -> None:
    assert full.told == {"tenant_busy": BEYOND}
    full.submit(GLOBEX)
    full.pass_time(1.0)
    assert full.handled == SUPERVISION.mailbox + 1


STOPS: dict[str, tuple[Callable[[Stage], object], SlotState | None]] = {
    "tenant_removed": (lambda stage: stage.declare([config(GLOBEX)]), None),
    "tenant_suspended": (
        lambda stage: stage.declare([config(ACME, enabled=False), config(GLOBEX)]),
        SlotState.SUSPENDED,
    ),
    "shutting_down": (lambda stage: stage.loop.run(stage.root.drain()), SlotState.DORMANT),
}


@pytest.mark.parametrize("code", STOPS)
def test_a_full_mailbox_does_not_hold_up_a_stop_and_all_of_it_is_answered(
    full: Stage, code: str
) -> None:
    stop, state = STOPS[code]
    stop(full)
    full.pass_time(1.0)
    assert full.told == {"tenant_busy": BEYOND, code: SUPERVISION.mailbox}
    slot = full.root.slots.get(ACME)
    assert (slot.state if slot else None) is state


def test_mail_that_comes_in_a_backoff_is_served_after_it(full: Stage) -> None:
    full.fates[ACME] = RuntimeError("crashed")
    full.pass_time(0.011)
    assert full.root.slots[ACME].state is SlotState.BACKOFF
    assert full.waiting == SUPERVISION.mailbox
    full.pass_time(1.0)
    assert (full.handled, full.root.slots[ACME].incarnation) == (SUPERVISION.mailbox, 2)


def test_a_wake_up_in_a_drain_starts_the_tenant_again(scripted: None) -> None:
    stage = Scripted.stage = Stage()
    stage.declare([config(ACME)])
    stage.submit(ACME)
    slot = stage.root.slots[ACME]
    while slot.state is not SlotState.DRAINING:
        stage.pass_time(0.005)
    assert stage.root.wake(ACME) is False
    stage.pass_time(1.0)
    assert (slot.state, slot.incarnation) == (SlotState.RUNNING, 2)
    stage.end()
