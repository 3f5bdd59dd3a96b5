"""Who may run a task: bounds of the node and of each tenant, shared by weight."""

from __future__ import annotations

from collections import Counter, deque
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.engine.slots import NodeSlots, TenantSlots


class Worker:
    """A tenant with so many tasks to run; it starts them as an engine does."""

    def __init__(
        self, node: NodeSlots, name: str, *, limit: int | None = None, weight: int = 1
    ) -> None:
        self.name = name
        self.limit = limit
        self.waiting = 0
        self.accepting = True
        self.started: deque[str] = deque()
        self.slots: TenantSlots = node.tenant(limit=limit, weight=weight, wake=self.dispatch)

    def ask(self, count: int, log: deque[str] | None = None) -> None:
        """Get `count` more tasks; `log` notes each start."""
        self.waiting += count
        if log is not None:
            self.started = log
        self.dispatch()

    def dispatch(self) -> None:
        """Start what may start."""
        while self.accepting and self.waiting and self.slots.take():
            self.waiting -= 1
            self.started.append(self.name)
        self.slots.settle()

    def end(self, seconds: float | None = None) -> None:
        """End one task that took so long."""
        self.slots.give_back(seconds)
        self.dispatch()


@pytest.mark.requirement("quota.max_concurrent_tasks")
def test_a_tenant_has_at_most_its_limit_and_a_node_at_most_its_total() -> None:
    node = NodeSlots(5)
    one, other = Worker(node, "one", limit=3), Worker(node, "other")
    one.ask(10)
    assert (one.slots.used, node.free) == (3, 2)
    other.ask(10)
    assert (other.slots.used, node.free) == (2, 0)
    one.end()
    assert (one.slots.used, other.slots.used, node.free) == (2, 3, 0)


def test_waiting_tenants_take_turns_by_weight() -> None:
    node, log = NodeSlots(1), deque[str]()
    holder = Worker(node, "holder")
    holder.ask(1)
    workers = {n: Worker(node, n, weight=w) for n, w in {"a": 1, "b": 1, "c": 1}.items()}
    for worker in workers.values():
        worker.ask(20, log)
    holder.end()
    for _ in range(8):
        workers[log[-1]].end()
    assert "".join(log) == "abcabcabc"


def test_a_heavier_tenant_gets_more_when_many_slots_are_free_at_once() -> None:
    node, log = NodeSlots(40), deque[str]()
    holder = Worker(node, "holder")
    holder.ask(40)
    light, heavy = Worker(node, "light"), Worker(node, "heavy", weight=3)
    light.ask(100, log)
    heavy.ask(100, log)
    holder.slots.leave()
    assert Counter(log) == {"light": 10, "heavy": 30}


def test_a_heavier_tenant_gets_more_when_slots_come_one_at_a_time() -> None:
    node, log = NodeSlots(1), deque[str]()
    holder = Worker(node, "holder")
    holder.ask(1)
    workers = {"light": Worker(node, "light"), "heavy": Worker(node, "heavy", weight=3)}
    for worker in workers.values():
        worker.ask(100, log)
    holder.end()
    for _ in range(39):
        workers[log[-1]].end()
    assert Counter(log) == {"light": 10, "heavy": 30}


def test_a_tenant_that_has_nothing_to_start_passes_its_turn_on() -> None:
    node = NodeSlots(1)
    holder, gone, next_one = (Worker(node, name) for name in ("holder", "gone", "next"))
    holder.ask(1)
    gone.ask(1)
    next_one.ask(1)
    gone.waiting = 0
    holder.end()
    assert (gone.slots.used, next_one.slots.used, node.free) == (0, 1, 0)


def test_a_thousand_tenants_that_want_nothing_any_more_are_passed_over() -> None:
    node = NodeSlots(1)
    holder, *others = (Worker(node, f"w{number}") for number in range(1001))
    holder.ask(1)
    for other in others:
        other.ask(1)
        other.accepting = False
    holder.end()
    assert (node.free, node.used) == (1, 0)


def test_a_limit_that_changes_counts_at_once() -> None:
    node = NodeSlots(10)
    worker = Worker(node, "one", limit=2)
    worker.ask(10)
    assert worker.slots.used == 2
    worker.slots.resize(limit=5, weight=1)
    worker.dispatch()
    assert worker.slots.used == 5
    worker.slots.resize(limit=1, weight=1)
    for _ in range(4):
        worker.end()
    assert worker.slots.used == 1
    worker.slots.resize(limit=None, weight=1)
    worker.dispatch()
    assert (worker.slots.used, worker.slots.limit) == (6, 10)


def test_a_tenant_stands_once_in_the_line_for_the_solo_place() -> None:
    node, woken = NodeSlots(2), deque[str]()
    holder, *others = (
        node.tenant(limit=None, weight=1, wake=partial(woken.append, name)) for name in "abc"
    )
    assert holder.take_solo()
    for _ in range(3):
        assert not any(other.take_solo() for other in others)
    holder.give_back_solo()
    assert list(woken) == ["b", "c"]


def test_a_tenant_that_left_is_not_woken_for_the_solo_place() -> None:
    node, woken = NodeSlots(2), deque[str]()
    holder, gone, other = (
        node.tenant(limit=None, weight=1, wake=partial(woken.append, name)) for name in "abc"
    )
    assert holder.take_solo()
    assert not gone.take_solo()
    assert not other.take_solo()
    gone.leave()
    holder.give_back_solo()
    assert list(woken) == ["c"]


@pytest.mark.parametrize("held", [0, 1, 3])
def test_a_tenant_that_leaves_returns_all_it_had(held: int) -> None:
    node = NodeSlots(3)
    one, other = Worker(node, "one"), Worker(node, "other")
    one.ask(held)
    other.ask(3)
    one.slots.leave()
    assert (one.slots.used, other.slots.used, node.free) == (0, 3, 0)


class Slots(RuleBasedStateMachine):
    """Tenants come, ask, end, stop accepting and leave in any order."""

    @initialize(total=st.integers(1, 24))
    def begin(self, total: int) -> None:
        """Make the node."""
        self.node = NodeSlots(total)
        self.workers: list[Worker] = []

    @rule(limit=st.none() | st.integers(1, 10), weight=st.integers(1, 5))
    def come(self, limit: int | None, weight: int) -> None:
        """Add a tenant."""
        if len(self.workers) < 6:
            name = f"w{len(self.workers)}"
            self.workers.append(Worker(self.node, name, limit=limit, weight=weight))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), count=st.integers(1, 6))
    def ask(self, data: st.DataObject, count: int) -> None:
        """Give a tenant more to do."""
        data.draw(st.sampled_from(self.workers)).ask(count)

    @precondition(lambda self: any(worker.slots.used for worker in self.workers))
    @rule(data=st.data(), seconds=st.sampled_from([None, 0.0001, 1.0]))
    def end(self, data: st.DataObject, seconds: float | None) -> None:
        """End a task, short or long, or one that never began."""
        data.draw(st.sampled_from([w for w in self.workers if w.slots.used])).end(seconds)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        """Let a tenant start nothing more."""
        data.draw(st.sampled_from(self.workers)).accepting = False

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Take a tenant away with all it holds."""
        worker = data.draw(st.sampled_from(self.workers))
        self.workers.remove(worker)
        worker.accepting = False
        worker.slots.leave()

    @invariant()
    def nothing_is_leaked_and_no_limit_passed(self) -> None:
        """Check the sums."""
        held = sum(worker.slots.used for worker in self.workers)
        assert self.node.used == held <= self.node.total
        assert all(w.limit is None or w.slots.used <= w.limit for w in self.workers)

    @invariant()
    def no_slot_is_free_while_a_task_could_use_it(self) -> None:
        """Check that nobody waits in vain."""
        hungry = [w for w in self.workers if w.accepting and w.waiting and w.slots.room > 0]
        assert not (hungry and self.node.free)


TestSlots = Slots.TestCase
TestSlots.settings = settings(max_examples=60, stateful_step_count=40)
