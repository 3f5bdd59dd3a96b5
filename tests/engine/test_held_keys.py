"""Others may hold what a flush needs: keys of runs that are not committed yet, or a run's row."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import anyio
import pytest

from orchestrator.engine.commit import MOST_WAITS
from orchestrator.engine.reply import Reply
from orchestrator.model.api import Started, StartRun
from orchestrator.model.errors import LockNotHad
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from tests.engine.live import House, Live, Options, serving
from tests.store.submitting import submit
from tests.support.wait import until

RUNS = "SELECT count(*) FROM tenant.wf_run"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
SOON = Options(lock_timeout="100ms")


@job("echo")
async def echo(ctx: Context) -> None:
    """Do nothing."""


@asynccontextmanager
async def holding(house: House, *keys: str) -> AsyncIterator[dict[str, UUID]]:
    """Keep a transaction open that has started a run with each key; commit it at the end."""
    application = await house.database.connect()
    async with application.transaction():
        yield {key: await submit(application, "acme", "echo", key=key) for key in keys}


async def answers(live: Live, *requests: Sequence[str | None]) -> list[str]:
    """Start runs with these keys, all requests at once; return what came of each, in short."""
    replies: list[Reply[list[Started]]] = [Reply() for _ in requests]
    for keys, reply in zip(requests, replies, strict=True):
        live.engine.submit([StartRun(workflow="echo", key=key) for key in keys], reply)
    found = []
    for reply in replies:
        try:
            with anyio.fail_after(30):
                await reply.wait()
            found.append("stored")
        except LockNotHad as error:
            found.append(f"{error}; again in {error.retry_after:g} s")
    return found


async def test_a_key_of_an_open_transaction_stops_the_runs_that_ask_for_it_and_nothing_else(
    house: House,
) -> None:
    gate = anyio.Event()

    @job("gated")
    async def gated(ctx: Context) -> None:
        await gate.wait()

    async with serving(house, echo, gated, options=SOON) as live:
        under_way = await live.submit("gated")
        async with holding(house, "mine") as held:
            gate.set()
            first, *others = await answers(live, ["mine"], ["other"], [None])
            assert first == (
                "a transaction that has not ended holds the key 'mine' of workflow 'echo'; "
                "again in 5 s"
            )
            assert others == ["stored", "stored"]
            await live.quiet()
            assert (await house.row(under_way.id)).state == "succeeded"

        again = await live.submit("echo", key="mine")
        assert (again.id, again.known) == (held["mine"], True)


async def test_of_many_keys_those_that_are_held_are_found(house: House) -> None:
    keys = [f"k{number}" for number in range(20)]
    async with serving(house, echo, options=SOON) as live, holding(house, "k3", "k17"):
        found = await answers(live, *([key] for key in keys))
        refused = [key for key, answer in zip(keys, found, strict=True) if answer != "stored"]
        assert refused == ["k3", "k17"]
        assert await house.value(RUNS) == 18


@pytest.mark.slow
async def test_when_very_many_keys_are_held_the_others_do_not_wait_until_all_are_found(
    house: House,
) -> None:
    keys = [f"k{number}" for number in range(100)]
    async with serving(house, echo, options=SOON) as live, holding(house, *keys):
        found = await answers(live, *([key] for key in [*keys, None]))
        assert found.pop() == "stored"
        assert "stored" not in found
        assert sum("the key 'k" in answer for answer in found) < MOST_WAITS


async def test_runs_of_one_request_are_refused_together(house: House) -> None:
    async with serving(house, echo, options=SOON) as live, holding(house, "b"):
        (refused,) = await answers(live, ["a", "b", None])
        assert "holds the key of one of the runs that came together" in refused
        assert await house.value(RUNS) == 0


@pytest.mark.slow
async def test_a_deadlock_with_an_application_ends_and_the_engine_goes_on(house: House) -> None:
    application = await house.database.connect()
    patient = Options(lock_timeout="30s")
    async with serving(house, echo, options=patient) as live, application.transaction():
        await submit(application, "acme", "echo", key="b")
        reply: Reply[list[Started]] = Reply()
        live.engine.submit([StartRun(workflow="echo", key=key) for key in ("a", "b")], reply)
        await until(lambda: house.value(WAITING))

        await submit(application, "acme", "echo", key="a")  # the engine gives way

        with pytest.raises(LockNotHad):
            await reply.wait()
        await live.submit("echo")


async def test_a_row_that_somebody_locks_is_waited_for_and_nothing_is_done_twice(
    house: House,
) -> None:
    gate, attempts = anyio.Event(), []

    @job("gated")
    async def gated(ctx: Context) -> None:
        attempts.append(ctx.attempt)
        await gate.wait()

    operator = await house.database.connect()
    async with serving(house, gated, options=SOON) as live:
        run = await live.submit("gated")
        async with operator.transaction():
            await operator.execute("SELECT FROM tenant_acme.wf_run FOR UPDATE")
            gate.set()
            await until(lambda: live.engine.held_up_since is not None)
        await live.quiet()
        assert live.engine.held_up_since is None

    assert (await house.row(run.id)).state == "succeeded"
    assert attempts == [1]


async def test_a_start_that_finds_a_row_locked_is_given_up_so_that_others_start(
    house: House,
) -> None:
    run = await submit(house.admin, "acme", "echo")
    operator = await house.database.connect()

    async with operator.transaction():
        await operator.execute("SELECT FROM tenant_acme.wf_run FOR UPDATE")
        with pytest.raises(LockNotHad):
            async with serving(house, echo, options=SOON):
                pass
    async with serving(house, echo, options=SOON) as live:
        await live.quiet()

    assert (await house.row(run)).state == "succeeded"
