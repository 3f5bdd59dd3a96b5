"""Whoever asks gets an answer: what is wrong with it, or that the engine ended before it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import anyio
import pytest

from orchestrator.engine.control import Verb
from orchestrator.engine.engine import LAST_FLUSH_SECONDS
from orchestrator.engine.reply import Reply
from orchestrator.model.api import StartRun
from orchestrator.model.errors import (
    DatabaseUnavailable,
    InvalidInput,
    RunConflict,
    TenantRestarted,
)
from orchestrator.model.ids import new_run_id
from orchestrator.store.tenant.journal import Sent
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from tests.engine.durable.driving import answer, fork
from tests.engine.live import House, Live, Options, serving
from tests.support.proxy import CuttingProxy
from tests.support.wait import until


@job("quick")
async def quick(ctx: Context) -> int:
    """Return at once."""
    return 1


Ask = Callable[[Live, UUID, Reply[Any]], None]
ASKS: dict[str, Ask] = {
    "submit": lambda live, _, reply: live.engine.submit([StartRun(workflow="quick")], reply),
    "signal": lambda live, run, reply: live.engine.send(
        Sent(run, new_run_id(), "go", None, "1"), reply
    ),
    "cancel": lambda live, run, reply: live.engine.control(run, Verb.CANCEL, "", reply),
    "fork": lambda live, run, reply: live.engine.fork(run, None, reply),
    "pause": lambda live, _, reply: live.engine.set_pause("quick", reply, paused=True),
}


async def test_what_was_asked_is_answered_when_the_engine_ends_in_the_middle(house: House) -> None:
    @job("held")
    async def held(ctx: Context) -> None:
        await anyio.sleep_forever()

    replies: dict[str, Reply[Any]] = {name: Reply() for name in [*ASKS, "of a run that is here"]}

    async def ask_and_end(proxy: CuttingProxy) -> None:
        options = Options(target=proxy.target)
        async with serving(house, quick, held, options=options) as live:
            gone, here = await live.run("quick"), (await live.submit("held")).id
            proxy.freeze()
            for name, ask in ASKS.items():
                ask(live, gone, replies[name])
            ASKS["cancel"](live, here, replies["of a run that is here"])
            await anyio.wait_all_tasks_blocked()

    async with CuttingProxy(house.database.as_engine("acme")).running() as proxy:
        with anyio.fail_after(LAST_FLUSH_SECONDS + 5), pytest.raises(ExceptionGroup) as ended:
            await ask_and_end(proxy)
    assert ended.group_contains(DatabaseUnavailable, match="closed before it answered")
    for reply in replies.values():
        with pytest.raises(TenantRestarted):
            await answer(reply)


async def test_a_commit_under_way_at_the_end_is_answered_and_starts_nothing(house: House) -> None:
    begun: list[UUID] = []
    reply: Reply[Any] = Reply()
    ready, locked, over = anyio.Event(), anyio.Event(), anyio.Event()

    @job("noted")
    async def noted(ctx: Context) -> None:
        begun.append(ctx.run_id)

    async def submit_and_end() -> None:
        async with serving(house, noted) as live:
            await live.run("noted")
            begun.clear()
            ready.set()
            await locked.wait()
            live.engine.submit([StartRun(workflow="noted")], reply)
            await over.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(submit_and_end)
        await ready.wait()
        async with house.admin.transaction():
            await house.value("SELECT epoch FROM tenant.wf_fence FOR UPDATE")
            locked.set()
            await until(partial(house.value, "SELECT count(*) FROM pg_locks WHERE NOT granted"))
            over.set()
            await anyio.wait_all_tasks_blocked()
    (started,) = await answer(reply)
    assert (await house.row(started.id)).state == "running"
    assert begun == []


BAD: dict[str, Ask] = {
    "signal": lambda live, run, reply: live.engine.send(
        Sent(run, new_run_id(), "g\0o", None, "1"), reply
    ),
    "key": lambda live, run, reply: live.engine.send(
        Sent(run, new_run_id(), "go", "\ud800", "1"), reply
    ),
    "reason": lambda live, run, reply: live.engine.control(run, Verb.CANCEL, "a\0", reply),
    "half": lambda live, run, reply: live.engine.control(run, Verb.CANCEL, "\ud800", reply),
    "task": lambda live, run, reply: live.engine.fork(run, "a\0", reply),
    "pause": lambda live, _, reply: live.engine.set_pause("qu\0ick", reply, paused=True),
}


async def test_a_text_that_can_not_be_stored_is_refused_and_ends_nothing(house: House) -> None:
    async with serving(house, quick) as live:
        run = await live.run("quick")
        for name, ask in BAD.items():
            reply: Reply[Any] = Reply()
            ask(live, run, reply)
            with pytest.raises(
                InvalidInput, match=r"has (a control|half of a) character"
            ) as refusal:
                await answer(reply)
            assert refusal.value.data["problems"], name
        assert await house.output(await live.run("quick")) == 1


@pytest.mark.parametrize("damage", ['[{"event":"task.skipped","task":"gone"}]', '{"x":1}', "[7]"])
async def test_a_run_whose_journal_can_not_be_read_is_not_repeated_and_ends_nothing(
    house: House, damage: str
) -> None:
    async with serving(house, quick) as live:
        run = await live.run("quick")
        await house.admin.execute("UPDATE tenant_acme.wf_event SET entries = $1", damage)
        with pytest.raises(RunConflict, match="can not be repeated"):
            await fork(live, run, "quick")
        assert await house.output(await live.run("quick")) == 1
