"""The kit for users' tests: a run in memory, by a clock that the test moves."""

from __future__ import annotations

import asyncio
import doctest
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from orchestrator.model.errors import (
    DefinitionError,
    InvalidInput,
    InvalidTenantId,
    RunConflict,
    WorkflowNotFound,
)
from orchestrator.model.states import RunState
from orchestrator.testing import harness
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from orchestrator.workflow.durable import AttemptOver, ChildFailed
from orchestrator.workflow.retry import Fail, Retry
from orchestrator.workflow.rules import When
from orchestrator.workflow.testing import Harness, TenantInfo, run_sync, run_workflow


def of_one(function: Any, **options: Any) -> Workflow:
    """Return a workflow of one task."""
    flow = Workflow("one")
    flow.task(name="only", **options)(function)
    return flow


def events(run: Harness) -> list[str]:
    """Return the names of a run's events."""
    return [event.event["event"] for event in run.history]


class Table:
    """A database that knows one answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def fetch(self, query: str, *args: object) -> Sequence[Any]:
        self.asked.append(query)
        return [{"n": len(args)}]

    async def fetchrow(self, query: str, *args: object) -> Any:
        return (await self.fetch(query, *args))[0]

    async def fetchval(self, query: str, *args: object) -> Any:
        return (await self.fetch(query, *args))[0]["n"]

    async def execute(self, query: str, *args: object) -> str:
        await self.fetch(query, *args)
        return "OK"

    async def executemany(self, query: str, args: Any) -> None:
        await self.fetch(query, *args)

    @asynccontextmanager
    async def transaction(self, *, isolation: str = "read committed") -> AsyncIterator[Any]:
        self.asked.append(isolation)
        yield self


@pytest.mark.requirement("R16.memory")
def test_a_run_gives_its_output_and_context_without_a_database() -> None:
    flow = Workflow("sums")

    @flow.task()
    async def load(ctx: Context, numbers: list[int]) -> list[int]:
        ctx.set("count", len(numbers))
        return numbers

    @flow.task(after=[load])
    def add(ctx: Context) -> int:
        return sum(ctx.output(load)) + int(ctx.get("count"))

    done = run_sync(flow, input={"numbers": [1, 2]})

    assert (done.state, done.output) == ("succeeded", 5)
    assert done.context == {"numbers": [1, 2], "count": 2}
    assert done.tasks["load"].output == [1, 2]


@pytest.mark.requirement("R16.memory")
async def test_nothing_moves_before_the_first_wait_and_time_stands_still() -> None:
    async def nap(ctx: Context) -> None:
        await ctx.sleep("10m")

    async with Harness(of_one(nap)) as run:
        assert run.state == "queued"
        await run.until_idle()
        assert (run.state, run.elapsed) == ("waiting", timedelta())
        await run.advance("9m")
        assert run.state == "waiting"
        await run.advance(60)
        assert run.state == "succeeded"


async def test_a_short_sleep_keeps_its_slot_and_waits_for_the_clock_too() -> None:
    async def blink(ctx: Context) -> None:
        for _ in range(100):
            await ctx.sleep(0.5)

    async with Harness(of_one(blink)) as run:
        await run.advance(timedelta(seconds=49.9))
        assert run.state == "running"
        await run.advance("100ms")
        assert run.state == "succeeded"
        assert "task.parked" not in events(run)


async def test_short_sleeps_side_by_side_are_waited_for_with_what_is_done_beside_them() -> None:
    held = threading.Event()

    async def work(ctx: Context) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ctx.sleep, 0.5)
            group.start_soon(ctx.sleep, 0.7)
            group.start_soon(ctx.step, "thread", held.wait)

    async with Harness(of_one(work)) as run:
        asyncio.get_running_loop().call_later(0.05, held.set)
        await run.until_idle()
        assert held.is_set()
        assert "step.done" in events(run)
        await run.advance(0.5)
        assert run.state == "running"
        await run.advance(0.2)
        assert run.state == "succeeded"


async def test_each_retry_comes_when_it_is_due_and_without_jitter() -> None:
    tried: list[timedelta] = []

    async def load(ctx: Context) -> int:
        tried.append(run.elapsed)
        if ctx.attempt < 4:
            raise ConnectionError("no")
        return ctx.attempt

    retry = Retry(attempts=4, initial="10s", cap="1h", jitter=0.9)
    async with Harness(of_one(load, retry=retry)) as run:
        await run.advance("1h")

        assert tried == [timedelta(seconds=each) for each in (0, 10, 30, 70)]
        assert run.output == 4


async def test_a_failed_task_skips_what_needs_it_and_another_cleans_up() -> None:
    flow = Workflow("clean_up")

    @flow.task()
    async def load(ctx: Context) -> None:
        raise Fail("no column 'carrier'")

    @flow.task(after=[load])
    async def send(ctx: Context) -> None:
        """Never run."""

    @flow.task(after=[load], when=When.ANY_FAILED)
    async def tell(ctx: Context) -> str:
        return "told"

    done = await run_workflow(flow)

    assert done.state is RunState.FAILED
    assert {name: task.state for name, task in done.tasks.items()} == {
        "load": "failed",
        "send": "skipped",
        "tell": "succeeded",
    }
    assert done.error is not None
    assert done.error.message == "no column 'carrier'"


async def test_a_signal_is_taken_once_and_may_come_early() -> None:
    async def ask(ctx: Context) -> list[Any]:
        first = await ctx.wait_signal("ok")
        try:
            second = await ctx.wait_signal("ok", timeout="1d")
        except TimeoutError:
            second = None
        return [first, second]

    async with Harness(of_one(ask)) as run:
        await run.signal("ok", {"by": "ann"})
        assert run.state == "waiting"
        await run.advance("1d")
        assert run.output == [{"by": "ann"}, None]
        with pytest.raises(RunConflict):
            await run.signal("ok")


async def test_children_are_workflows_or_functions_that_stand_for_them() -> None:
    @job("double")
    async def double(ctx: Context, n: int) -> int:
        await ctx.sleep("1h")
        return 2 * n

    async def parent(ctx: Context) -> list[int]:
        two = await ctx.start_child("double", {"n": 1})
        three = await ctx.start_child("three")
        return [await ctx.wait(two), await ctx.wait(three)]

    done = await run_workflow(of_one(parent), children={"double": double, "three": lambda _: 3})

    assert done.output == [2, 3]
    assert [(child.workflow, child.output) for child in done.children] == [
        ("double", 2),
        ("three", 3),
    ]
    assert done.elapsed == timedelta(hours=1)


async def test_a_child_that_fails_or_is_not_given_fails_the_wait() -> None:
    async def broken(ctx: Context) -> None:
        raise Fail("broken")

    async def parent(ctx: Context, name: str) -> str:
        child = await ctx.start_child(name)
        try:
            await ctx.wait(child)
        except ChildFailed as error:
            return str(error.state)
        return "succeeded"

    done = await run_workflow(of_one(parent), input={"name": "kid"}, children={"kid": broken})
    assert done.output == "failed"

    lost = await run_workflow(of_one(parent), input={"name": "nobody"})
    assert lost.error is not None
    assert lost.error.type == WorkflowNotFound.__name__


async def test_a_cancelled_run_cancels_its_children() -> None:
    async def sleeper(ctx: Context) -> None:
        await ctx.sleep("1d")

    async def parent(ctx: Context) -> None:
        await ctx.wait(await ctx.start_child("sleeper"))

    async with Harness(of_one(parent), children={"sleeper": sleeper}) as run:
        await run.until_idle()
        await run.cancel("enough")

        assert run.state == "cancelled"
        assert [child.state for child in run.children] == ["cancelled"]
        with pytest.raises(RunConflict):
            await run.resume()


async def test_a_paused_run_starts_nothing_until_it_is_resumed() -> None:
    flow = Workflow("two")

    @flow.task()
    async def first(ctx: Context) -> None:
        await ctx.sleep("1m")

    @flow.task(after=[first])
    async def second(ctx: Context) -> str:
        return "done"

    async with Harness(flow) as run:
        await run.until_idle()
        await run.pause()
        await run.advance("1h")
        assert run.state == "paused"
        await run.resume()
        await run.finish()
        assert run.output == "done"


async def test_a_failed_run_can_be_retried() -> None:
    broken = True

    async def load(ctx: Context) -> str:
        if broken:
            raise Fail("the disk is full")
        return "loaded"

    async with Harness(of_one(load)) as run:
        await run.until_idle()
        assert run.state == "failed"
        broken = False
        await run.retry()
        assert run.output == "loaded"


async def test_steps_and_items_are_called_once_however_often_the_task_is_run_again() -> None:
    called: list[Any] = []

    def double(item: int) -> int:
        called.append(item)
        return item * 2

    async def work(ctx: Context) -> list[int]:
        await ctx.step("charge", called.append, "charge")
        await ctx.sleep("1h")
        items = await ctx.map(double, range(3))
        if ctx.attempt == 1:
            raise ConnectionError("again")
        return items

    done = await run_workflow(of_one(work, retry=Retry(attempts=2)))

    assert done.output == [0, 2, 4]
    assert called[0] == "charge"
    assert sorted(called[1:]) == [0, 1, 2]


async def test_a_task_under_test_may_be_replaced_by_a_function() -> None:
    flow = Workflow("stubbed")

    @flow.task(retry=Retry(attempts=2, initial="1s"))
    async def load(ctx: Context, file: str) -> int:
        raise AssertionError("the real one")

    @flow.task(after=[load])
    async def total(ctx: Context) -> int:
        return ctx.output(load) + 1

    def from_file(ctx: Context, file: str) -> int:
        if ctx.attempt == 1:
            raise OSError(file)
        return len(file)

    assert (await run_workflow(flow, input={"file": "a.csv"}, stub={load: from_file})).output == 6
    assert (await run_workflow(flow, input={"file": ""}, stub={"load": lambda _: 3})).output == 4


async def test_the_database_is_what_the_test_gives() -> None:
    async def count(ctx: Context) -> Any:
        async with ctx.db.transaction() as tx:
            await tx.execute("DELETE FROM flights")
        return await ctx.db.fetchval("SELECT count(*) FROM flights WHERE a = $1", 1)

    table = Table()
    done = await run_workflow(of_one(count), database=table)
    assert done.output == 1
    assert table.asked[:2] == ["read committed", "DELETE FROM flights"]

    without = await run_workflow(of_one(count))
    assert without.error is not None
    assert without.error.type == "NoDatabase"


async def test_the_database_is_out_of_reach_once_the_attempt_is_over() -> None:
    kept: list[Any] = []

    async def keep(ctx: Context) -> None:
        kept.append(ctx.db)

    await run_workflow(of_one(keep), database=Table())

    with pytest.raises(AttemptOver):
        await kept[0].fetchval("SELECT 1")


async def test_waits_side_by_side_rest_until_the_first_of_them_comes() -> None:
    async def race(ctx: Context) -> str:
        first: list[str] = []

        async def nap(scope: anyio.CancelScope) -> None:
            await ctx.sleep("2h")
            first.append("slept")
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(nap, group.cancel_scope)
            first.append(await ctx.wait_signal("go"))
            group.cancel_scope.cancel()
        return first[0]

    async with Harness(of_one(race)) as run:
        await run.advance("1h")
        await run.signal("go", "told")
        assert run.output == "told"
    assert (await run_workflow(of_one(race), deadline="3h")).output == "slept"


async def test_the_tenant_is_what_the_test_says_and_its_limits_hold() -> None:
    async def tell(ctx: Context) -> Any:
        if ctx.tenant.features.get("strict"):
            raise ConnectionError("again")
        return [ctx.tenant.id, ctx.tenant.settings["region"]]

    info = TenantInfo(id="acme_corp", settings={"region": "eu"}, limits={"max_retries": 1})
    flow = of_one(tell, retry=Retry(attempts=9, initial="1s"))
    assert (await run_workflow(flow, tenant=info)).output == ["acme_corp", "eu"]

    strict = TenantInfo(id="acme_corp", features={"strict": True}, limits={"max_retries": 1})
    assert (await run_workflow(flow, tenant=strict)).tasks["only"].attempt == 2


async def test_sync_tasks_run_in_threads_and_are_waited_for() -> None:
    def where(ctx: Context) -> bool:
        return threading.current_thread() is threading.main_thread()

    assert (await run_workflow(of_one(where))).output is False


async def test_a_task_for_a_worker_process_has_no_database_here_either() -> None:
    done = await run_workflow(of_one(reads_in_a_process, executor="process"), database=Table())

    assert done.error is not None
    assert done.error.type == "NoDatabase"


def reads_in_a_process(ctx: Context) -> None:
    """Use what a worker process does not have."""
    _ = ctx.db


async def test_code_that_changes_between_two_attempts_blocks_the_run() -> None:
    async def fickle(ctx: Context) -> None:
        await ctx.step("first" if ctx.attempt == 1 else "other", lambda: 1)
        raise ConnectionError("again")

    async with Harness(of_one(fickle, retry=Retry(attempts=2))) as run:
        await run.finish()
        assert run.state == "blocked"
        assert run.error is not None
        assert run.error.type == "NonDeterminism"


async def test_a_deadline_ends_a_run() -> None:
    async def nap(ctx: Context) -> None:
        await ctx.sleep("1d")

    done = await run_workflow(of_one(nap), deadline="1h")

    assert done.error is not None
    assert done.error.type == "DeadlineExceeded"
    assert done.elapsed == timedelta(hours=1)


async def test_a_run_that_waits_for_ever_is_returned_as_it_stands() -> None:
    async def ask(ctx: Context) -> None:
        await ctx.wait_signal("never")

    async def tick(ctx: Context) -> None:
        while True:
            await ctx.sleep("100d")

    assert (await run_workflow(of_one(ask))).state == "waiting"
    assert (await run_workflow(of_one(ask), signals={"never": None})).state == "succeeded"
    assert (await run_workflow(of_one(tick))).elapsed == timedelta(days=400)


async def test_two_runs_of_one_test_are_the_same_to_the_letter() -> None:
    async def kid(ctx: Context) -> str:
        return ctx.idempotency_key

    async def parent(ctx: Context) -> list[str]:
        children = [await ctx.start_child("kid") for _ in range(3)]
        if ctx.attempt == 1:
            raise ConnectionError("again")
        return [await ctx.wait(child) for child in children]

    flow = of_one(parent, retry=Retry(attempts=2))
    first, second = [await run_workflow(flow, children={"kid": kid}) for _ in range(2)]

    assert first.history == second.history
    assert first.output == second.output


@asynccontextmanager
async def opened() -> AsyncIterator[Harness]:
    """Open a harness as a fixture does."""

    async def nap(ctx: Context) -> str:
        await ctx.sleep("1h")
        return "awake"

    async with Harness(of_one(nap)) as run:
        yield run


async def test_the_block_may_be_left_in_another_task_than_it_was_entered_in() -> None:
    entered = opened()
    async with anyio.create_task_group() as group:
        runs: list[Harness] = []

        async def enter() -> None:
            runs.append(await entered.__aenter__())

        group.start_soon(enter)
    (run,) = runs
    await run.finish()
    assert run.output == "awake"
    await entered.__aexit__(None, None, None)

    with pytest.raises(RuntimeError, match="inside"):
        await run.until_idle()


def test_what_can_not_be_run_is_refused_at_once() -> None:
    async def load(ctx: Context, month: int) -> None:
        """Do nothing."""

    flow = of_one(load)
    with pytest.raises(InvalidInput, match=r"\$\.month"):
        Harness(flow, input={"month": "May"})
    with pytest.raises(InvalidTenantId):
        Harness(flow, input={"month": 1}, tenant="Acme")
    with pytest.raises(ValueError, match="no task 'lod'"):
        Harness(flow, input={"month": 1}, stub={"lod": lambda _: 3})
    with pytest.raises(ValueError, match="'kid' is given workflow 'one'"):
        Harness(flow, input={"month": 1}, children={"kid": flow})
    with pytest.raises(DefinitionError):
        Harness(Workflow("empty"))


def test_the_examples_in_the_docstrings_do_what_they_say() -> None:
    with capture_logs():
        found = doctest.testmod(harness, extraglobs={"Workflow": Workflow, "Context": Context})

    assert found.attempted
    assert not found.failed
