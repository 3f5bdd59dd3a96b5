"""A transactional task: what it did in the database and its completion are one commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import anyio
import asyncpg
import pytest

from orchestrator.engine import port
from orchestrator.engine.control import Verb
from orchestrator.engine.reply import Reply
from orchestrator.model.errors import DatabaseRefused, DatabaseUnavailable, LeaseLost
from orchestrator.model.states import RunState
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from orchestrator.workflow.durable import AttemptOver
from orchestrator.workflow.retry import Retry
from tests.engine.durable.driving import control
from tests.engine.live import SCHEMA, House, Live, Options, serving
from tests.support.proxy import CuttingProxy, When
from tests.support.wait import until

PAY = "INSERT INTO payment (run, task) VALUES ($1, $2)"
COLUMNS = ["run", "task"]
PAID = "SELECT count(*) FROM tenant.payment"
ONCE = Retry(attempts=5, initial="0s")


@pytest.fixture
async def bank(house: House) -> House:
    """Yield a tenant with a table of payments, which nothing keeps from being made twice."""
    await house.admin.execute(f"CREATE TABLE {SCHEMA}.payment (run uuid, task text)")
    role = house.database.logins("acme").app
    await house.admin.execute(f"GRANT SELECT, INSERT ON {SCHEMA}.payment TO {role}")
    return house


def paying() -> Workflow:
    """Return a workflow that pays twice, side by side, and then once more."""
    flow = Workflow("w")

    async def pay(ctx: Context) -> str:
        await ctx.db.execute(PAY, ctx.run_id, ctx.task)
        ctx.set(ctx.task, "paid")
        return ctx.task

    first = flow.task(name="first", transactional=True, retry=ONCE)(pay)
    second = flow.task(name="second", transactional=True, retry=ONCE)(pay)
    flow.task(name="third", after=[first, second], transactional=True, retry=ONCE)(pay)
    return flow


@pytest.mark.requirement("R7.once")
async def test_the_effect_and_the_completion_are_one_commit(bank: House) -> None:
    async with serving(bank, paying()) as live:
        run = await live.run("w")
    assert await bank.output(run) == "third"
    assert await bank.value(PAID) == 3
    told = await bank.told(run)
    assert sorted(told[1:3]) == ["task.started first", "task.started second"]
    assert told[-2:] == ["task.succeeded third", "run.succeeded"]
    same = f"""
        SELECT count(*) FROM {SCHEMA}.payment AS p
        JOIN {SCHEMA}.wf_event AS e ON e.xmin = p.xmin
        WHERE e.entries ->> 0 IS NOT NULL AND e.entries -> 0 ->> 'event' = 'task.succeeded'
          AND e.entries -> 0 ->> 'task' = p.task
    """
    assert await bank.value(same) == 3


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.requirement("R7.once")
async def test_a_process_that_dies_at_any_statement_leaves_the_effect_done_once(
    bank: House, when: When
) -> None:
    first, last = await _statements(bank)
    for cut_at in range(first, last + 1):
        await _die_at(bank, cut_at, when)
        async with serving(bank, paying_once()) as live:
            await live.quiet()
        state = await bank.value("SELECT string_agg(state, ' ') FROM tenant.wf_run")
        assert state in {None, "succeeded"}, (cut_at, state)
        assert await bank.value(PAID) == (state is not None), cut_at
        await bank.value("TRUNCATE tenant.payment, tenant.wf_run, tenant.wf_event")
    assert last - first >= 6


def paying_once() -> Workflow:
    """Return a workflow of one payment."""

    async def pay(ctx: Context) -> None:
        await ctx.db.execute(PAY, ctx.run_id, ctx.task)

    return job("w", transactional=True, retry=ONCE)(pay)


async def _statements(bank: House) -> tuple[int, int]:
    """Return the numbers of the first and last statement of a run in which nothing goes wrong."""
    async with _through(bank, CuttingProxy(bank.database.as_engine("acme"))) as (proxy, live):
        first = proxy.statements + 1
        await live.run("w")
        last = proxy.statements
    await bank.value("TRUNCATE tenant.payment, tenant.wf_run, tenant.wf_event")
    return first, last


async def _die_at(bank: House, cut_at: int, when: When) -> None:
    """Run one run in an engine that reaches no server after that statement."""
    engine = bank.database.as_engine("acme")
    proxy = CuttingProxy(engine, cut_at=cut_at, when=when, for_good=True)
    try:
        async with _through(bank, proxy) as (_, live):
            await live.run("w")
    except (DatabaseRefused, DatabaseUnavailable):
        return
    except BaseExceptionGroup as group:
        _, others = group.split((DatabaseRefused, DatabaseUnavailable))
        if others is not None:
            raise


@asynccontextmanager
async def _through(bank: House, proxy: CuttingProxy) -> AsyncIterator[tuple[CuttingProxy, Live]]:
    """Run an engine whose connections, its own and its tasks', go through `proxy`."""
    app = bank.database.as_app("acme")
    async with proxy.running():
        options = Options(
            target=proxy.target,
            app_target=proxy.target.as_role(app.user, app.password or ""),
            once=True,
            patience=0.02,
        )
        async with serving(bank, paying_once(), options=options) as live:
            yield proxy, live


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_connection_that_is_lost_at_any_statement_is_made_good(
    bank: House, when: When
) -> None:
    for cut_at in range(1, 6):
        app = bank.database.as_app("acme")
        proxy = CuttingProxy(app, cut_at=cut_at, when=when)
        async with proxy.running():
            options = Options(app_target=proxy.target)
            async with serving(bank, paying(), options=options) as live:
                run = await live.run("w")
                await live.later(1)
            assert proxy.has_cut
        assert await bank.output(run) == "third", cut_at
        assert await bank.value(PAID) == 3, cut_at
        await bank.value("TRUNCATE tenant.payment")


async def test_an_attempt_that_fails_leaves_nothing_behind(bank: House) -> None:
    @job("w", transactional=True, retry=Retry(attempts=2, initial="0s"))
    async def pay(ctx: Context) -> int:
        await ctx.db.execute(PAY, ctx.run_id, ctx.task)
        if ctx.attempt == 1:
            raise ValueError("not yet")
        return ctx.attempt

    async with serving(bank, pay) as live:
        run = await live.run("w")
        await live.later(1)
    assert await bank.output(run) == 2
    assert await bank.value(PAID) == 1


async def test_a_sync_task_can_be_transactional(bank: House) -> None:
    @job("w", transactional=True)
    def pay(ctx: Context) -> None:
        anyio.from_thread.run(ctx.db.execute, PAY, ctx.run_id, ctx.task)

    async with serving(bank, pay) as live:
        run = await live.run("w")
    assert await bank.output(run) is None
    assert await bank.value(PAID) == 1


async def test_a_task_that_asks_nothing_of_the_database_succeeds_as_any_other(bank: House) -> None:
    @job("w", transactional=True)
    async def idle(ctx: Context) -> int:
        return 1

    async with serving(bank, idle) as live:
        assert await bank.output(await live.run("w")) == 1


async def test_a_transaction_within_the_transaction_is_undone_alone(bank: House) -> None:
    @job("w", transactional=True)
    async def pay(ctx: Context) -> Any:
        async def fail() -> None:
            async with ctx.db.transaction() as tx:
                await tx.copy_records(
                    "payment", records=[(ctx.run_id, "in")], columns=["run", "task"]
                )
                async with ctx.db.transaction():
                    await ctx.db.execute("SELECT 1 / 0")

        async with anyio.create_task_group() as group:
            group.start_soon(ctx.db.execute, PAY, ctx.run_id, "beside")
            with pytest.raises(asyncpg.DivisionByZeroError):
                await fail()
        with anyio.move_on_after(0.05):
            async with ctx.db.transaction() as tx:
                await tx.execute(PAY, ctx.run_id, "late")
                await anyio.sleep_forever()
        async with ctx.db.transaction() as tx:
            await tx.execute(PAY, ctx.run_id, "out")
        return await ctx.db.fetchval("SELECT string_agg(task, ' ' ORDER BY task) FROM payment")

    async with serving(bank, pay) as live:
        assert await bank.output(await live.run("w")) == "beside out"
    assert await bank.value(PAID) == 2


_left: list[Any] = []


async def _swallow(ctx: Context) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await ctx.db.execute("SELECT 1 / 0")


async def _leave(ctx: Context) -> None:
    _left.append(ctx.db.transaction())
    await _left[-1].__aenter__()


async def _serializable(ctx: Context) -> None:
    async with ctx.db.transaction(isolation="serializable"):
        pass


async def _forge(ctx: Context) -> None:
    """Complete a task with SQL: the seal is not known."""
    seal = UUID(int=0)
    forge = "SELECT wf_complete(1, $1, '', current_setting('insula.mark'), $2, 9, '[]', 0)"
    await ctx.db.execute(forge, seal, ctx.run_id)


REFUSALS: dict[str, tuple[Callable[[Context], Awaitable[Any]], str]] = {
    "a durable call": (lambda ctx: ctx.sleep("1h"), "CallInTransaction"),
    "a commit of its own": (lambda ctx: ctx.db.execute("COMMIT"), "TransactionEnded"),
    "a failed statement": (_swallow, "InFailedSQLTransactionError"),
    "a savepoint left open": (_leave, "TransactionLeftOpen"),
    "an isolation": (_serializable, "ValueError"),
    "a completion of its own": (_forge, "UnknownPostgresError"),
}


@pytest.mark.parametrize("way", REFUSALS)
async def test_what_would_not_be_one_commit_fails_the_attempt(bank: House, way: str) -> None:
    act, kind = REFUSALS[way]

    @job("w", transactional=True)
    async def pay(ctx: Context) -> None:
        await ctx.db.fetchval("SELECT 1")
        await act(ctx)

    async with serving(bank, pay) as live:
        run = await live.run("w")
    assert (await bank.error(run))["type"] == kind


async def test_what_is_refused_at_the_commit_fails_the_attempt(bank: House) -> None:
    await bank.admin.execute(
        f"ALTER TABLE {SCHEMA}.payment ADD UNIQUE (run) DEFERRABLE INITIALLY DEFERRED"
    )

    @job("w", transactional=True)
    async def pay(ctx: Context) -> None:
        await ctx.db.executemany(PAY, [(ctx.run_id, "a"), (ctx.run_id, "b")])

    async with serving(bank, pay) as live:
        run = await live.run("w")
    assert (await bank.error(run))["type"] == "UniqueViolationError"
    assert await bank.value(PAID) == 0


async def test_nothing_is_added_after_the_task_has_returned(bank: House) -> None:
    told: list[BaseException] = []

    @job("w", transactional=True)
    async def pay(ctx: Context) -> None:
        db = ctx.db
        await db.execute(PAY, ctx.run_id, ctx.task)

        async def late() -> None:
            try:
                await db.execute(PAY, ctx.run_id, "late")
            except AttemptOver as error:
                told.append(error)

        asyncio.get_running_loop().call_soon(lambda: tasks.append(asyncio.create_task(late())))

    tasks: list[asyncio.Task[None]] = []
    async with serving(bank, pay) as live:
        run = await live.run("w")
        await until(lambda: told)
    assert await bank.output(run) is None
    assert await bank.value(PAID) == 1


@pytest.mark.requirement("R7.fence")
async def test_a_former_owner_completes_nothing(bank: House) -> None:
    @job("w", transactional=True)
    async def pay(ctx: Context) -> None:
        await ctx.db.execute(PAY, ctx.run_id, ctx.task)
        await bank.admin.execute(f"UPDATE {SCHEMA}.wf_fence SET epoch = 99")

    async def serve() -> None:
        async with serving(bank, pay) as live:
            await live.submit("w")
            await anyio.sleep_forever()

    with pytest.RaisesGroup(LeaseLost, flatten_subgroups=True, allow_unwrapped=True):
        await serve()
    assert await bank.value(PAID) == 0


async def test_a_server_that_falls_silent_at_the_commit_leaves_it_to_the_next_owner(
    bank: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = CuttingProxy(bank.database.as_app("acme"))

    @job("w", transactional=True, retry=ONCE)
    async def flow(ctx: Context) -> None:
        await ctx.db.execute(PAY, ctx.run_id, ctx.task)
        proxy.freeze()

    monkeypatch.setattr(port, "COMPLETE_SECONDS", 0.2)
    with pytest.raises(BaseExceptionGroup) as ended:
        async with (
            proxy.running(),
            serving(bank, flow, options=Options(app_target=proxy.target)) as live,
        ):
            await live.run("w")
    assert ended.group_contains(DatabaseUnavailable, match="is not known")
    async with serving(bank, flow) as live:
        await live.quiet()
    assert await bank.value(PAID) == 1


async def test_a_run_that_is_cancelled_before_the_commit_leaves_nothing(bank: House) -> None:
    wrote = anyio.Event()

    @job("w", transactional=True)
    async def pay(ctx: Context) -> None:
        await ctx.db.execute(PAY, ctx.run_id, ctx.task)
        wrote.set()
        await anyio.sleep_forever()

    async with serving(bank, pay) as live:
        run = (await live.submit("w")).id
        await wrote.wait()
        assert await control(live, run, Verb.CANCEL) is RunState.CANCELLED
        await live.quiet()
    assert await bank.value(PAID) == 0
    assert (await bank.told(run))[-1] == "run.cancelled"


async def test_a_run_that_is_cancelled_during_the_commit_keeps_its_journal_whole(
    bank: House,
) -> None:
    """The commit waits for a lock that the test holds."""
    await bank.admin.execute(f"CREATE TABLE {SCHEMA}.gate ()")
    await bank.admin.execute(
        f"CREATE FUNCTION {SCHEMA}.wait() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        f" 'BEGIN LOCK TABLE {SCHEMA}.gate; RETURN NULL; END';"
        f"CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON {SCHEMA}.payment"
        f" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.wait()"
    )

    @job("w", transactional=True)
    async def pay(ctx: Context) -> None:
        await ctx.db.execute(PAY, ctx.run_id, ctx.task)

    gate = await bank.database.connect()
    async with serving(bank, pay) as live:
        async with gate.transaction():
            await gate.execute(f"LOCK TABLE {SCHEMA}.gate")
            run = (await live.submit("w")).id
            await until(
                lambda: bank.value("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
            )
            reply = _cancel(live, run)
        with anyio.fail_after(10):
            assert await reply.wait() is RunState.CANCELLED
        await live.quiet()
    assert await bank.told(run) == [
        "run.started", "task.started pay", "task.succeeded pay", "run.cancelled",
    ]  # fmt: skip
    assert await bank.value(PAID) == 1


def _cancel(live: Live, run: UUID) -> Reply[RunState]:
    reply: Reply[RunState] = Reply()
    live.engine.control(run, Verb.CANCEL, "", reply)
    return reply
