"""How a supervisor reads its mail, and what it leaves behind of each step of its life."""

from __future__ import annotations

from itertools import pairwise

import anyio
import pytest

from orchestrator.engine.reply import Reply
from orchestrator.model.api import Started, StartRun
from orchestrator.model.clock import HandClock
from orchestrator.model.ids import TenantId
from orchestrator.settings.duration import Duration
from supervisors.messages import Submit
from supervisors.slot import SlotState
from supervisors.tenant import MAIL_AT_ONCE, TTL_JITTER
from tests.supervisors.nodes import running_node, snapshot
from tests.support.database import Database
from tests.support.wait import until

ACME = TenantId("acme")


async def test_much_mail_of_one_tenant_leaves_the_loop_to_the_others_in_between(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.submit("acme")
        slot = node.slot("acme")
        replies = [Reply[list[Started]]() for _ in range(3 * MAIL_AT_ONCE)]
        for reply in replies:
            slot.post(Submit([StartRun(workflow="note")], reply), node.ground.clock.now())
        left = [len(replies)]
        while left[-1]:
            await anyio.lowlevel.checkpoint()
            left.append(slot.receive.statistics().current_buffer_used)
        assert max(a - b for a, b in pairwise(left)) == MAIL_AT_ONCE
        for reply in replies:
            await reply.wait()


async def test_many_hints_are_one_look_and_take_no_room_in_the_mailbox(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.submit("acme")
        slot, looks = node.slot("acme"), 0
        assert slot.engine is not None
        look = slot.engine.poke

        def counted() -> None:
            nonlocal looks
            looks += 1
            look()

        slot.engine.poke = counted  # type: ignore[method-assign]
        for _ in range(1000):
            assert node.root.wake(ACME)
        assert slot.receive.statistics().current_buffer_used == 0
        await until(lambda: not slot.poked)
        assert looks == 1


class Chances:
    """Chance as the test has it."""

    def __init__(self, *chances: float) -> None:
        self._chances = iter(chances)

    def random(self) -> float:
        """Return the next."""
        return next(self._chances)


async def test_tenants_that_rest_since_the_same_moment_do_not_go_at_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, names = HandClock(), ["early", "late"]
    declared = snapshot(names, idle_ttl=Duration(seconds=100))
    monkeypatch.setattr("supervisors.tenant.random", Chances(0.0, 1.0))
    async with running_node(database, declared, clock=clock) as node:
        for name in names:
            await node.submit(name)
            await node.until_finished(name, 1)
        await until(lambda: not any(s.engine and s.engine.busy for s in node.root.slots.values()))
        clock.advance(100 * (1 - TTL_JITTER) + 1)
        for name in names:
            node.slot(name).look()
        await node.reach("early", SlotState.DORMANT)
        clock.advance(100 * 2 * TTL_JITTER - 2)
        node.slot("late").look()
        await anyio.wait_all_tasks_blocked()
        assert node.slot("late").state is SlotState.RUNNING
        clock.advance(2.0)
        node.slot("late").look()
        await node.reach("late", SlotState.DORMANT)


async def test_every_change_of_state_is_a_row_also_when_it_could_not_be_stored_at_first(
    database: Database, moves: list[tuple[str, SlotState]]
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.sql("ALTER TABLE insula.transition RENAME TO away")
        await node.submit("acme")
        await node.root.history.flush()
        await node.sql("ALTER TABLE insula.away RENAME TO transition")
        await node.declare("acme", enabled=False)
        await node.reach("acme", SlotState.SUSPENDED)
        await node.declare("acme", enabled=True)
        await node.reach("acme", SlotState.RUNNING)
        await node.root.drain()
        rows = "SELECT array_agg(state ORDER BY number) FROM insula.transition"
        assert await node.sql(rows) == [state for _, state in moves]
        assert len(moves) >= 8
