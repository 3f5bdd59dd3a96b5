"""Who makes room when all places are taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest

from orchestrator.engine.engine import Engine
from orchestrator.model.ids import TenantId
from orchestrator.settings.tenants import TenantConfig
from supervisors.idle import victim
from supervisors.messages import Stop
from supervisors.slot import Slot, SlotState


@dataclass
class Load:
    """As much of an engine as the policy looks at."""

    busy: bool = False


@pytest.fixture
def slots() -> Iterator[dict[str, Slot]]:
    """Four idle tenants; `b` was used longest ago."""
    made = {}
    for name, used in (("a", 30.0), ("b", 10.0), ("c", 20.0), ("d", 40.0)):
        slot = Slot(TenantConfig(id=TenantId(name), name=name), mailbox=1)
        slot.state = SlotState.RUNNING
        slot.engine = cast("Engine", Load())
        slot.awake_since, slot.last_active = 0.0, used
        made[name] = slot
    yield made
    for slot in made.values():
        slot.close()


def chosen(slots: dict[str, Slot], **options: Any) -> str | None:
    found = victim(slots.values(), **{"now": 100.0, "residency": 5.0, **options})
    return found.config.id if found else None


def test_the_longest_idle_tenant_goes(slots: dict[str, Slot]) -> None:
    assert chosen(slots) == "b"


def test_a_busy_tenant_stays(slots: dict[str, Slot]) -> None:
    slots["b"].engine = cast("Engine", Load(busy=True))
    assert chosen(slots) == "c"


def test_a_tenant_with_mail_stays(slots: dict[str, Slot]) -> None:
    slots["b"].poke()
    assert chosen(slots) == "c"


def test_a_tenant_that_ends_already_is_not_asked_again(slots: dict[str, Slot]) -> None:
    slots["b"].ask_to_stop(Stop.EVICT)
    assert chosen(slots) == "c"


@pytest.mark.parametrize("state", [each for each in SlotState if each is not SlotState.RUNNING])
def test_only_a_running_tenant_can_go(slots: dict[str, Slot], state: SlotState) -> None:
    slots["b"].state = state
    assert chosen(slots) == "c"


def test_a_tenant_that_just_woke_stays(slots: dict[str, Slot]) -> None:
    slots["b"].awake_since = 96.0
    assert chosen(slots) == "c"
    assert chosen(slots, now=101.0) == "b"


def test_nobody_goes_when_nobody_may(slots: dict[str, Slot]) -> None:
    assert chosen(slots, residency=1000.0) is None
    assert chosen({}) is None
