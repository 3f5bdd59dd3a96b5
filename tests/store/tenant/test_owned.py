"""The supervisor's connection: breaks anywhere, comes back, and knows when it is not its own."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import Any, get_args
from uuid import UUID

import anyio
import msgspec
import pytest

from orchestrator.model.errors import DatabaseRefused, DatabaseUnavailable, LeaseLost
from orchestrator.quota.window import DAY
from orchestrator.store.connect import Connection
from orchestrator.store.tenant.journal import Sent
from orchestrator.store.tenant.owned import OwnedConnection
from tests.store.tenant.acme import Acme, batch, logged, new_run
from tests.support.proxy import CuttingProxy, When
from tests.support.wait import until

RUN, OTHER = new_run(epoch=999), new_run(key="k")
BATCH = batch([RUN, OTHER], [], [logged(RUN, fresh=True)])
Act = Callable[[OwnedConnection], Awaitable[Any]]
ACTS: dict[str, Act] = {
    "flush": lambda owned: owned.flush(BATCH),
    "known": lambda owned: owned.known([RUN.id], []),
    "outside": lambda owned: owned.outside(),
    "signals": lambda owned: owned.signals([RUN.id]),
    "ended": lambda owned: owned.ended([RUN.id]),
    "peek": lambda owned: owned.peek(RUN.id),
    "set_pause": lambda owned: owned.set_pause("v", paused=True),
    "pauses": lambda owned: owned.pauses(),
    "claim_these": lambda owned: owned.claim_these([RUN.id]),
    "send": lambda owned: owned.send([Sent(OTHER.id, OTHER.id, "go", "key", "{}")]),
    "inherited": lambda owned: owned.inherited(DAY),
    "entries": lambda owned: owned.entries([RUN.id]),
}


async def cut(acme: Acme) -> None:
    """End every connection of the engine's login, as an administrator would."""
    login = acme.database.logins("acme").engine
    await acme.value(
        "SELECT bool_and(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = $1",
        login,
    )


async def test_a_connection_that_was_ended_between_statements_is_opened_again(acme: Acme) -> None:
    owned = acme.owned(1)
    await owned.open()
    for act in ACTS.values():
        await cut(acme)
        await act(owned)
    await cut(acme)
    assert [run.id for run in await owned.claim(10)] == [OTHER.id]
    await owned.close()


async def test_a_connection_that_is_ended_within_a_statement_is_opened_again(acme: Acme) -> None:
    owned = acme.owned(1)
    await owned.open()
    async with acme.admin.transaction():
        await acme.value("SELECT epoch FROM tenant.wf_fence FOR UPDATE")
        flush = asyncio.create_task(owned.flush(BATCH))
        await until(partial(acme.value, "SELECT count(*) FROM pg_locks WHERE NOT granted"))
        await cut(acme)
    assert (await flush).added == 2
    await owned.close()


@pytest.mark.parametrize("when", get_args(When))
async def test_every_statement_survives_a_cut_before_and_after_it_was_sent(
    acme: Acme, when: When
) -> None:
    epochs = itertools.count(1)
    for name, act in ACTS.items():
        first, last, expected = await statements_of(acme, next(epochs), act)
        before = await acme.contents()
        for cut_at in range(first, last + 1):
            proxy = CuttingProxy(acme.database.as_engine("acme"), cut_at=cut_at, when=when)
            async with proxy.running():
                owned = acme.owned(next(epochs), target=proxy.target)
                await owned.open()
                await act(owned)
                answer = await act(owned)
                assert proxy.statements > last, f"{name} was not cut"
                assert name == "flush" or answer == expected
                await owned.close()
        assert name == "claim_these" or await acme.contents() == before


async def statements_of(acme: Acme, epoch: int, act: Act) -> tuple[int, int, Any]:
    """Return the first and last statement of `act`, when made a second time, and its answer."""
    proxy = CuttingProxy(acme.database.as_engine("acme"))
    async with proxy.running():
        owned = acme.owned(epoch, target=proxy.target)
        await owned.open()
        await act(owned)
        before = proxy.statements
        answer = await act(owned)
        await owned.close()
    return before + 1, proxy.statements, answer


@pytest.mark.parametrize("when", get_args(When))
async def test_a_flush_that_is_cut_is_committed_once(acme: Acme, when: When) -> None:
    _, last, _ = await statements_of(acme, 1, lambda owned: owned.flush(batch()))
    proxy = CuttingProxy(acme.database.as_engine("acme"), cut_at=last, when=when)
    async with proxy.running():
        owned = acme.owned(2, target=proxy.target)
        await owned.open()
        await owned.flush(batch())
        committed = await owned.flush(BATCH)
        known = await owned.known([run.id for run in BATCH.added], [])
        await owned.close()
    assert committed.added == (2 if when == "before" else 0)
    assert {run.id for run in known} == {RUN.id, OTHER.id}
    assert await acme.value("SELECT count(*) FROM tenant.wf_event") == 1


@pytest.mark.parametrize("when", get_args(When))
async def test_a_claim_whose_answer_was_lost_is_not_taken_for_an_empty_one(
    acme: Acme, when: When
) -> None:
    first = acme.owned(1)
    await first.open()
    await first.flush(BATCH)
    await first.close()
    _, last, _ = await statements_of(acme, 1000, lambda owned: owned.claim(0))
    proxy = CuttingProxy(acme.database.as_engine("acme"), cut_at=last, when=when)
    async with proxy.running():
        owned = acme.owned(1001, target=proxy.target)
        await owned.open()
        await owned.claim(0)
        with pytest.raises(DatabaseUnavailable, match="which runs were claimed is not known"):
            await owned.claim(10)
        await owned.close()
    again = acme.owned(1002)
    await again.open()
    assert {run.id for run in await again.claim(10)} == {RUN.id, OTHER.id}
    await again.close()


@pytest.mark.parametrize("when", get_args(When))
async def test_a_takeover_that_is_cut_is_an_unavailable_database(acme: Acme, when: When) -> None:
    proxy = CuttingProxy(acme.database.as_engine("acme"), cut_at=1, when=when)
    async with proxy.running():
        owned = acme.owned(1, target=proxy.target)
        with pytest.raises(DatabaseUnavailable):
            await owned.open()
        await owned.close()


@pytest.mark.parametrize("name", [*ACTS, "claim"])
async def test_a_connection_that_is_found_lost_with_the_lease_says_so(
    acme: Acme, name: str
) -> None:
    owned = acme.owned(1)
    await owned.open()
    await acme.take(2)
    await cut(acme)
    with pytest.raises(LeaseLost):
        await (ACTS[name](owned) if name in ACTS else owned.claim(10))
    assert await acme.contents() == []
    await owned.close()


async def test_a_write_or_claim_after_the_lease_was_lost_says_so(acme: Acme) -> None:
    owned = acme.owned(1)
    await owned.open()
    await acme.take(2)
    for name in ("flush", "outside", "claim_these", "send", "set_pause"):
        with pytest.raises(LeaseLost):
            await ACTS[name](owned)
    assert await acme.contents() == []
    await owned.close()
    with pytest.raises(LeaseLost):
        await acme.owned(1).open()


async def test_a_server_that_cuts_every_statement_is_an_unavailable_database(
    acme: Acme, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.store.tenant.owned.RECONNECT_SECONDS", 0.5)
    owned = acme.owned(1)
    await owned.open()
    role = acme.database.logins("acme").engine
    # A statement that ends its own connection, as a server does that crashes on it.
    await acme.value(
        "CREATE FUNCTION tenant.crash() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        "AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END'"
    )
    await acme.value(
        "CREATE TRIGGER crash BEFORE INSERT ON tenant.wf_run FOR EACH ROW "
        "EXECUTE FUNCTION tenant.crash()"
    )
    await acme.value(f"GRANT EXECUTE ON FUNCTION tenant.crash() TO {role}")
    with anyio.fail_after(10), pytest.raises(DatabaseUnavailable, match="terminating connection"):
        await owned.flush(BATCH)
    assert await acme.contents() == []
    await owned.close()


async def test_a_login_that_is_taken_away_is_refused_at_once(acme: Acme) -> None:
    owned = acme.owned(1)
    await owned.open()
    role = acme.database.logins("acme").engine
    await acme.value(f"ALTER ROLE {role} NOLOGIN")
    await cut(acme)
    with pytest.raises(DatabaseRefused):
        await owned.flush(BATCH)
    await owned.close()


async def test_a_connection_closes_while_a_statement_is_under_way(acme: Acme) -> None:
    opened: list[Connection] = []
    owned = acme.owned(1)
    await owned.open()
    opened += acme.opened
    async with acme.admin.transaction():
        await acme.value("SELECT epoch FROM tenant.wf_fence FOR UPDATE")
        with anyio.move_on_after(0.1):
            await owned.flush(BATCH)
        await owned.close()
    assert all(connection.is_closed() for connection in opened)
    assert await acme.contents() == []


async def test_statements_of_several_tasks_take_turns(acme: Acme) -> None:
    owned = acme.owned(1)
    await owned.open()
    runs = [new_run() for _ in range(20)]
    async with anyio.create_task_group() as group:
        for run in runs:
            group.start_soon(owned.flush, batch([run]))
            group.start_soon(owned.outside)
    assert (await owned.outside(count_to=100)).queued == 20
    await owned.close()


@pytest.mark.parametrize("nudged", [(), (OTHER.id,)], ids=["one statement", "transaction"])
async def test_a_server_that_does_not_answer_counts_as_lost(
    acme: Acme, nudged: tuple[UUID, ...]
) -> None:
    async with CuttingProxy(acme.database.as_engine("acme")).running() as proxy:
        owned = acme.owned(1, target=proxy.target, answer_seconds=0.2)
        await owned.open()
        proxy.freeze()
        flushed = msgspec.structs.replace(BATCH, nudged=nudged)
        async with anyio.create_task_group() as group:
            group.start_soon(owned.flush, flushed)
            await until(acme.opened[0].is_closed)
            proxy.thaw()
        contents = await acme.contents()
        await owned.flush(flushed)
        assert await acme.contents() == contents
        assert len(contents) == 3
        await owned.close()


async def test_a_flush_costs_one_cancel_scope(acme: Acme) -> None:
    # Each is some twenty calls of functions in Python, and hundreds of tenants pay them by flush.
    entered, scope = 0, type(anyio.CancelScope()).__enter__.__code__

    def count(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal entered
        entered += event == "call" and frame.f_code is scope

    owned = acme.owned(1)
    await owned.open()
    sys.setprofile(count)
    try:
        for _ in range(3):
            await owned.flush(batch([new_run()]))
    finally:
        sys.setprofile(None)
    await owned.close()
    assert entered == 3


async def test_closing_ends_a_statement_that_waits_for_a_frozen_server(acme: Acme) -> None:
    async with CuttingProxy(acme.database.as_engine("acme")).running() as proxy:
        owned = acme.owned(1, target=proxy.target)
        await owned.open()
        proxy.freeze()
        ended: list[str] = []

        async def flush() -> None:
            with pytest.raises(DatabaseUnavailable, match="closed before it answered"):
                await owned.flush(BATCH)
            ended.append("flush")

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(flush)
                group.start_soon(flush)
                await anyio.wait_all_tasks_blocked()
                await owned.close()
        assert ended == ["flush", "flush"]
        assert acme.opened[0].is_closed()


async def test_closing_ends_the_search_for_a_new_connection(acme: Acme) -> None:
    async def flush(owned: OwnedConnection) -> None:
        with pytest.raises(DatabaseUnavailable, match="closed before it answered"):
            await owned.flush(BATCH)

    async with CuttingProxy(acme.database.as_engine("acme")).running() as proxy:
        owned = acme.owned(1, target=proxy.target)
        await owned.open()
        proxy.go_away()
        async with anyio.create_task_group() as group:
            group.start_soon(flush, owned)
            await until(lambda: proxy.connections > 2)
            await owned.close()
        tried = proxy.connections
        await flush(owned)
        assert proxy.connections == tried
