"""At every single await of a supervisor: a cancellation leaves nothing behind, mail is not lost."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import anyio
import pytest

from orchestrator.engine.reply import Reply
from orchestrator.model.api import Started, StartRun
from orchestrator.model.errors import TenantRestarted
from orchestrator.model.ids import TenantId
from orchestrator.settings.duration import Duration
from orchestrator.store.control import nodes
from supervisors.ground import Ground
from supervisors.guard import guard
from supervisors.messages import Submit
from supervisors.slot import Slot, SlotState
from supervisors.starts import Starts
from supervisors.tenant import TenantSupervisor
from tests.supervisors.nodes import LONG, Node, running_node, snapshot
from tests.support.database import Database
from tests.support.steps import Steps, stepping, watched
from tests.support.wait import until

ACME = TenantId("acme")
SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE usename = ANY($1::text[])"
    " OR datname = current_database() AND state LIKE 'idle in transaction%'"
)


def mail(key: str) -> Submit:
    """Return a submit of one run, as the root makes them."""
    return Submit([StartRun(workflow="note", key=key)], Reply())


async def live_once(ground: Ground, slot: Slot, cancel_at: int) -> bool:
    """Let one supervisor live, cancelled at its wait of that number; False when it has fewer."""
    slot.state = SlotState.STARTING
    with anyio.CancelScope() as slot.life:
        steps = Steps(at=cancel_at, act=slot.life.cancel)
        with stepping(steps):
            supervisor = TenantSupervisor(slot, ground, Starts(ground.standing), drain_seconds=5.0)
            ended = await watched(guard(supervisor.run))
            assert ended.failure is None, ended
    return steps.acted


async def answer_of(reply: Reply[list[Started]]) -> Started | None:
    """Return the run that was accepted; None when its sender was told that nobody knows."""
    try:
        with anyio.fail_after(1):
            (started,) = await reply.wait()
    except TenantRestarted:
        return None
    return started


@pytest.mark.slow
async def test_a_cancellation_at_any_await_leaves_no_connection_and_no_question_open(
    database: Database,
) -> None:
    declared = snapshot(["acme"], idle_ttl=Duration(0))
    logins = database.logins("acme")
    async with running_node(database, declared) as node:
        # What is cancelled is another node's, so that this one does not go on with it.
        ground = replace(node.ground, node=uuid4())
        await nodes.register(await database.connect(), ground.node, "other", LONG)
        config = node.slot("acme").config
        cancelled, accepted, again = 0, set(), True
        while again:
            slot = Slot(config, mailbox=2)
            message = mail(f"{cancelled}")
            slot.post(message, node.ground.clock.now())
            again = await live_once(ground, slot, cancelled + 1)
            cancelled += again
            if not slot.has_mail:
                started = await answer_of(message.reply)
                accepted |= {started.id} if started else set()
            slot.close()

            async def nothing_open() -> bool:
                return not await node.sql(SESSIONS, [logins.engine, logins.app])

            await until(nothing_open, within=5.0, what=f"all closed after cancel {cancelled}")
        assert cancelled > 40
        assert accepted
        stored = "SELECT array_agg(id) FROM tenant_acme.wf_run"
        assert accepted <= set(await node.sql(stored))


async def test_mail_that_comes_at_any_await_of_a_supervisors_end_is_served(
    database: Database,
) -> None:
    declared = snapshot(["acme"], idle_ttl=Duration(0))
    async with running_node(database, declared) as node:
        sent = 0
        while await sleeps_with_late_mail(node, sent + 1):
            sent += 1
            await node.reach("acme", SlotState.DORMANT)
        assert sent > 3
        assert await node.finished("acme") == 2 * sent + 1
        assert await node.sql("SELECT count(*) FROM insula.wake") == 0


async def sleeps_with_late_mail(node: Node, at: int) -> bool:
    """Let the tenant fall asleep, with mail at its wait of that number; False when it has fewer."""
    slot, late = node.slot("acme"), mail(f"late {at}")

    def send() -> None:
        slot.post(late, node.ground.clock.now())
        node.root.wake(ACME)

    steps = Steps(at, send, when=lambda: slot.state is SlotState.DRAINING)
    with stepping(steps):
        await node.submit("acme", key=f"first {at}")
        await until(lambda: steps.acted or slot.state is SlotState.DORMANT)
    if steps.acted:
        assert await answer_of(late.reply) is not None
    return steps.acted
