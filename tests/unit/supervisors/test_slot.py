"""Whatever happens to its tenants, in whatever order, a root keeps what it promises."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from orchestrator.model.errors import DatabaseRefused, DatabaseUnavailable, LeaseHeldElsewhere
from orchestrator.model.ids import TenantId
from orchestrator.settings.tenants import TenantConfig
from supervisors.messages import Stop
from supervisors.slot import AT_REST, SlotState
from tests.unit.supervisors.stage import (
    EXPIRY_SECONDS,
    INTENSITY,
    MAX_AWAKE,
    Scripted,
    Stage,
)

EXAMPLES = max(8, settings().max_examples // 20)
NAMES = [TenantId(f"t{number}") for number in range(4)]
TENANTS = st.sampled_from(NAMES)
FATES: dict[str, Callable[[TenantId], BaseException]] = {
    "crash": lambda _: RuntimeError("crashed"),
    "group": lambda _: BaseExceptionGroup("several", [ValueError("one"), KeyError("two")]),
    "stray cancel": lambda _: asyncio.CancelledError(),
    "outage": lambda _: DatabaseUnavailable("too many connections"),
    "refused": lambda _: DatabaseRefused("wrong password"),
    "lease": lambda tenant: LeaseHeldElsewhere(tenant, "served by node 'b'"),
}
SOME_TIME = st.sampled_from([0.001, 0.01, 0.05, 0.3, 2.0, 6.0, 20.0, 70.0, 400.0])


class Promises(RuleBasedStateMachine):
    """What holds at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Scripted.stage = Stage()
        self.declared: dict[TenantId, TenantConfig] = {}

    @invariant()
    def a_tenant_has_one_runner_unless_it_is_at_rest(self) -> None:
        self.stage.settle()
        runners = self.stage.runners()
        for tenant, slot in self.stage.root.slots.items():
            expected = 0 if slot.state in AT_REST else 1
            assert runners.pop(f"tenant {tenant}", 0) == expected, slot.state
        assert not runners, "a runner without a slot"

    @invariant()
    def two_supervisors_of_a_tenant_never_live_at_once(self) -> None:
        assert self.stage.most_lives <= 1
        assert sum(self.stage.lives.values()) <= MAX_AWAKE

    @invariant()
    def nobody_rests_while_mail_waits(self) -> None:
        resting = [s for s in self.stage.root.slots.values() if s.state in AT_REST]
        assert not any(slot.has_mail for slot in resting if slot.state is SlotState.DORMANT)
        assert not any(slot.receive.statistics().current_buffer_used for slot in resting)

    @invariant()
    def every_message_was_handled_or_reported_or_waits(self) -> None:
        stage = self.stage
        assert stage.sent == stage.handled + stage.reported + stage.waiting

    @invariant()
    def a_tenant_that_rests_says_why_and_until_when(self) -> None:
        for slot in self.stage.root.slots.values():
            if slot.state is SlotState.QUARANTINED:
                assert slot.last_error
                assert slot.retry_at is not None
            if slot.state in AT_REST:
                assert (slot.state is SlotState.SUSPENDED) is not slot.config.enabled
                assert not slot.removed
            assert slot.state is not SlotState.GONE
            assert len(slot.record.crashes) <= INTENSITY

    @invariant()
    def the_slots_are_those_declared_and_those_that_leave(self) -> None:
        there = {name for name, slot in self.stage.root.slots.items() if not slot.removed}
        assert there == self.declared.keys()


class Slots(Promises):
    """Everything that can happen to the slots of a root."""

    # -- what can happen ---------------------------------------------------------------

    @initialize()
    def all_are_declared(self) -> None:
        """Begin with the tenants of the files."""
        self._declare({name: TenantConfig(id=name, name=name) for name in NAMES})

    @rule(tenant=TENANTS, enabled=st.booleans(), weight=st.integers(1, 2))
    def is_declared(self, tenant: TenantId, enabled: bool, weight: int) -> None:
        """Reload with one more tenant, or one that changed."""
        config = TenantConfig(id=tenant, name=tenant, enabled=enabled, weight=weight)
        self._declare({**self.declared, tenant: config})

    @rule(tenant=TENANTS)
    def is_removed(self, tenant: TenantId) -> None:
        """Reload without a tenant."""
        self._declare({name: each for name, each in self.declared.items() if name != tenant})

    @rule(tenant=TENANTS, count=st.integers(1, 6))
    def is_sent(self, tenant: TenantId, count: int) -> None:
        """Submit."""
        for _ in range(count):
            self.stage.submit(tenant)

    @rule(tenant=TENANTS)
    def is_due(self, tenant: TenantId) -> None:
        """Find a wake row."""
        self.stage.do(lambda: self.stage.root.wake(tenant))

    @rule(tenant=TENANTS, fate=st.sampled_from(sorted(FATES)))
    def fails(self, tenant: TenantId, fate: str) -> None:
        """Let the next step of a life be its last."""
        self.stage.fates[tenant] = FATES[fate](tenant)

    @rule(tenant=TENANTS)
    def has_to_make_room(self, tenant: TenantId) -> None:
        """Ask a tenant to go to sleep, as another node's better right does."""
        slot = self.stage.root.slots.get(tenant)
        if slot is not None and slot.state is SlotState.RUNNING:
            self.stage.do(lambda: slot.ask_to_stop(Stop.HAND_OVER))

    @rule(up=st.booleans())
    def the_database_goes_or_comes(self, up: bool) -> None:
        """Let the keeper find out at once."""
        self.stage.up = up
        self.stage.do(self.stage.keep)

    @rule()
    def the_process_is_frozen(self) -> None:
        """Let more time pass than the node's row lives, without anybody running."""
        self.stage.loop.leap(2 * EXPIRY_SECONDS)

    @rule(seconds=SOME_TIME)
    def time_passes(self, seconds: float) -> None:
        """Let everybody run for a while."""
        self.stage.pass_time(seconds)

    def _declare(self, declared: dict[TenantId, TenantConfig]) -> None:
        self.declared = declared
        self.stage.declare(declared.values())

    # -- what holds in the end ---------------------------------------------------------

    def teardown(self) -> None:
        """Mend everything: all come to rest, all are served again, and all were answered."""
        stage = self.stage
        stage.fates.clear()
        stage.up = True
        stage.do(stage.keep)
        changed = {n: msgspec.structs.replace(c, weight=3) for n, c in self.declared.items()}
        self._declare(changed)  # which frees those in quarantine
        stage.pass_time(150.0)
        for tenant, slot in stage.root.slots.items():
            assert slot.state in (SlotState.DORMANT, SlotState.SUSPENDED), (tenant, slot.state)
        before = stage.handled
        enabled = [name for name, config in self.declared.items() if config.enabled]
        for tenant in enabled:
            stage.submit(tenant)
        stage.pass_time(60.0)
        assert stage.handled == before + len(enabled)
        stage.end()


@pytest.mark.usefixtures("scripted")
def test_a_root_keeps_what_it_promises() -> None:
    run_state_machine_as_test(
        Slots,
        settings=settings(
            suppress_health_check=list(HealthCheck),
            deadline=None,
            stateful_step_count=40,
            max_examples=EXAMPLES,
        ),
    )
