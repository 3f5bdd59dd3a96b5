"""Whatever a task does, its attempt fails with a clear error and nothing else does."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from orchestrator.engine import entries
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from orchestrator.workflow.retry import Fail, Retry
from orchestrator.workflow.rules import When
from tests.engine.live import House, Options, serving
from tests.support.wait import until


class Silent(Exception):
    """An exception that can not be told."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Stubborn(BaseExceptionGroup[BaseException]):
    """A group that can not be taken apart."""

    def split(self, *_: Any) -> Any:
        """Refuse."""
        raise Own("not to be split")


class Worse(Exception):
    """An exception whose text is no exception's."""

    def __str__(self) -> str:
        raise Own("no words")


class Own(BaseException):
    """What no `except Exception` catches."""


def nested(depth: int) -> Any:
    """Return a list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def circle() -> Any:
    """Return a list that holds itself."""
    value: Any = []
    value.append(value)
    return value


def raising(error: BaseException) -> Callable[[Context], Any]:
    """Return a task body that raises."""

    def body(ctx: Context) -> None:
        raise error

    return body


def returning(value: Any) -> Callable[[Context], Any]:
    """Return a task body that returns."""

    def body(ctx: Context) -> Any:
        return value

    return body


def setting(value: Any) -> Callable[[Context], Any]:
    """Return a task body that sets a value in the context."""

    def body(ctx: Context) -> None:
        ctx.set("x", value)

    return body


def recursive(ctx: Context) -> None:
    """Call itself for ever."""
    recursive(ctx)


BAD: dict[str, tuple[Callable[[Context], Any], str, str]] = {
    "raise": (raising(KeyError("carrier")), "KeyError", "'carrier'"),
    "silent": (raising(Silent()), "Silent", "Silent, whose message can not be read"),
    "own": (raising(Own("mine")), "Own", "mine"),
    "sys_exit": (raising(SystemExit(3)), "TaskExited", "the task ended the program: SystemExit: 3"),
    "interrupt": (raising(KeyboardInterrupt()), "TaskExited", "the task ended the program: Key"),
    "cancelled": (raising(asyncio.CancelledError()), "TaskExited", "cancelled from inside"),
    "generator_exit": (raising(GeneratorExit()), "TaskExited", "GeneratorExit"),
    "stop": (raising(StopIteration()), "RuntimeError", "raised StopIteration"),
    "group": (raising(BaseExceptionGroup("two", [Own(), ValueError()])), "BaseException", "two"),
    "stubborn": (raising(Stubborn("two", [Own()])), "Own", "not to be split"),
    "worse": (raising(Worse()), "Worse", "Worse, whose message can not be read"),
    "nul": (raising(ValueError("a\0b")), "ValueError", "a\\0b"),
    "surrogate": (raising(ValueError("a\ud800")), "ValueError", "a\\ud800"),
    "huge": (raising(ValueError("x" * 5_000_000)), "ValueError", "xxx"),
    "recursion": (recursive, "RecursionError", "maximum recursion depth exceeded"),
    "object": (returning(object()), "TypeError", "the output has no JSON form: Encoding objects"),
    "in_context": (setting({1, object()}), "TypeError", "the context has no JSON form"),
    "coroutine": (returning(iter(())), "TypeError", "Encoding objects of type"),
    "lone": (returning("\ud800"), "TypeError", "the output has no JSON form: a text has half of a"),
    "nan": (returning({"mean": [float("nan")]}), "ValueError", "the output has $.mean[0]: nan"),
    "infinity": (setting(float("inf")), "ValueError", "the context has $.x: inf"),
    "cycle": (returning(circle()), "ValueError", "the output is nested too deep"),
    "cycle_context": (setting(circle()), "ValueError", "the context is nested too deep"),
    "key": (returning({(1, 2): 3}), "TypeError", "Only dicts with str-like or number-like keys"),
    "deep": (returning(nested(900)), "ValueError", "the output is nested too deep"),
    "deep_context": (setting(nested(900)), "ValueError", "the context is nested too deep"),
}


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.requirement("R12.tenant", "R14.bounded")
async def test_a_bad_attempt_fails_alone_and_says_why(house: House, kind: str) -> None:
    flow = Workflow("w")

    def as_async(body: Callable[[Context], Any]) -> Callable[[Context], Any]:
        async def run(ctx: Context) -> Any:
            return body(ctx)

        return run

    for name, (body, _, _) in BAD.items():
        flow.task(name=name)(body if kind == "sync" else as_async(body))

    @job("fine")
    async def fine(ctx: Context) -> str:
        return "still here"

    async with serving(house, flow, fine) as live:
        run = await live.run("w")
        after = await live.run("fine")
    assert await house.output(after) == "still here"
    failed = {
        e.task: e.error for e in await house.journal(run) if isinstance(e, entries.TaskFailed)
    }
    for name, (_, type_, message) in BAD.items():
        assert failed[name].type.startswith(type_), name
        assert message in failed[name].message, name
        assert len(failed[name].traceback or "") <= 8_000


async def test_nuls_in_outputs_and_context_are_stored_and_read_again(house: House) -> None:
    flow = Workflow("w")

    @flow.task()
    async def first(ctx: Context) -> str:
        ctx.set("x\0", "a\0b")
        return "a\0b"

    @flow.task(after=[first])
    async def second(ctx: Context) -> list[Any]:
        return [ctx.output(first), ctx.get("x\0")]

    async with serving(house, flow) as live:
        run = await live.run("w")
    assert await house.output(run) == ["a\0b", "a\0b"]


@pytest.mark.requirement("R4.attempts")
async def test_retries_follow_the_clock_and_count_across_attempts(house: House) -> None:
    attempts: list[int] = []

    @job("w", retry=Retry(attempts=3, initial="2s", jitter=0))
    async def flaky(ctx: Context) -> int:
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise ConnectionError("again")
        return ctx.attempt

    async with serving(house, flaky) as live:
        run = await live.run("w")
        assert (await house.row(run)).state == "waiting"
        await live.later(1.9)
        assert attempts == [1]
        await live.later(0.2)
        assert attempts == [1, 2]
        await live.later(3.8)
        assert attempts == [1, 2]
        await live.later(0.4)
    assert attempts == [1, 2, 3]
    assert await house.output(run) == 3


async def test_a_long_rest_is_spent_in_the_table(house: House) -> None:
    @job("w", retry=Retry(attempts=3, initial="1h", cap="1h", jitter=0))
    async def flaky(ctx: Context) -> int:
        if ctx.attempt < 2:
            raise ConnectionError("again")
        return ctx.attempt

    async with serving(house, flaky) as live:
        run = await live.run("w")
        due = live.engine.next_due
        assert due is not None
        assert timedelta(minutes=59) < due - live.engine.now <= timedelta(hours=1)
        assert await house.value("SELECT epoch FROM tenant.wf_run") == 0
        # The clock here runs ahead of the server's: nothing is due there yet.
        live.clock.advance(3601)
        live.engine.tick()
        while (due := live.engine.next_due) is None:
            await live.engine.changed.wait()
        assert due > live.engine.now
        assert (await house.row(run)).state == "waiting"
        await house.skip(3601)
        live.engine.poke()
        await live.quiet()
    assert await house.output(run) == 2


@pytest.mark.requirement("R4.exceptions")
async def test_the_last_failure_ends_the_run_and_fail_is_never_retried(house: House) -> None:
    calls: list[str] = []

    @job("twice", retry=Retry(attempts=2, initial="1s", jitter=0))
    async def twice(ctx: Context) -> None:
        calls.append("twice")
        raise ValueError("no")

    @job("never", retry=Retry(attempts=5))
    async def never(ctx: Context) -> None:
        calls.append("never")
        raise Fail("no column")

    @job("other", retry=Retry(attempts=5, on=(OSError,)))
    async def other(ctx: Context) -> None:
        calls.append("other")
        raise ValueError("not covered")

    async with serving(house, twice, never, other) as live:
        runs = [await live.run(name) for name in ("twice", "never", "other")]
        await live.later(1.5)
    assert sorted(calls) == ["never", "other", "twice", "twice"]
    assert [(await house.error(run))["message"] for run in runs] == [
        "no",
        "no column",
        "not covered",
    ]


@pytest.mark.requirement("quota.max_retries")
async def test_the_tenants_limit_cuts_retries(house: House) -> None:
    @job("w", retry=Retry(attempts=9, initial="1s", jitter=0))
    async def flaky(ctx: Context) -> None:
        raise ValueError(str(ctx.attempt))

    async with serving(house, flaky, max_retries=1) as live:
        run = await live.run("w")
        await live.later(1.5)
    assert (await house.error(run))["message"] == "2"


@pytest.mark.requirement("R14.dropped", "quota.max_result_bytes")
async def test_an_output_over_the_limit_is_not_stored_and_the_run_succeeds(house: House) -> None:
    flow = Workflow("w")

    @flow.task()
    async def big(ctx: Context) -> str:
        return "x" * 200

    @flow.task(after=[big])
    async def reader(ctx: Context) -> bool:
        return ctx.output(big) is None

    async with serving(house, flow, max_result_bytes=100) as live:
        run = await live.run("w")
    assert await house.output(run) is True
    (entry,) = [e for e in await house.journal(run) if getattr(e, "dropped_bytes", 0)]
    assert getattr(entry, "dropped_bytes", 0) == 202


async def test_a_task_that_breaks_its_connection_or_leaks_a_transaction_harms_nobody(
    house: House,
) -> None:
    flow = Workflow("w")

    @flow.task()
    async def breaks(ctx: Context) -> None:
        await ctx.db.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    @flow.task()
    async def kills(ctx: Context) -> None:
        engine = house.database.logins("acme").engine
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1"
        await ctx.db.execute(kill, engine)

    @flow.task()
    async def leaks(ctx: Context) -> None:
        await ctx.db.transaction().__aenter__()

    @flow.task()
    async def alters(ctx: Context) -> None:
        await ctx.db.execute("SET search_path = pg_catalog")
        await ctx.db.execute("BEGIN")
        await ctx.db.execute("COMMIT")

    @flow.task(after=[breaks, kills, leaks, alters], when=When.ALL_DONE)
    async def reads(ctx: Context) -> Any:
        return await ctx.db.fetchval("SELECT current_schema()")

    async with serving(house, flow) as live:
        run = await live.run("w")
        login = house.database.logins("acme").app
        query = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND state ~ 'transaction'"
        await until(lambda: house.value(f"SELECT ({query}) = 0", login))
    told = await house.told(run)
    failed = {f"task.failed {name}" for name in ("breaks", "kills", "leaks")}
    assert {*failed, "task.succeeded alters"} <= set(told)
    (entry,) = [
        e
        for e in await house.journal(run)
        if getattr(e, "task", "") == "reads" and hasattr(e, "output")
    ]
    assert bytes(getattr(entry, "output", b"")) == b'"tenant_acme"'


async def test_what_a_task_changes_in_its_settings_nobody_else_sees(house: House) -> None:
    flow = Workflow("w")

    @flow.task()
    async def changes(ctx: Context) -> None:
        ctx.tenant.settings.setdefault("region", []).append("moon")

    @flow.task(after=[changes])
    async def reads(ctx: Context) -> Any:
        return ctx.tenant.settings

    config = house.config()
    config.settings["region"] = ["eu"]
    async with serving(house, flow, options=Options(config=config)) as live:
        run = await live.run("w")
    assert await house.output(run) == {"region": ["eu"]}


async def test_a_cleanup_that_fails_when_the_engine_stops_is_no_failed_attempt(
    house: House,
) -> None:
    entered = anyio.Event()

    @job("w")
    async def stubborn(ctx: Context) -> int:
        if ctx.attempt > 1:
            return ctx.attempt
        try:
            entered.set()
            await anyio.sleep_forever()
        finally:
            raise ValueError("cleanup failed")
        return 0

    async with serving(house, stubborn) as live:
        started = await live.submit("w")
        await entered.wait()
    assert await house.told(started.id) == ["run.started", "task.started stubborn"]
    async with serving(house, stubborn) as live:
        await live.quiet()
    assert await house.output(started.id) == 2


async def test_sys_exit_on_a_thread_does_not_end_the_thread_pool(house: House) -> None:
    @job("w")
    def leave(ctx: Context, number: int) -> int:
        if number % 2:
            sys.exit(number)
        return number

    async with serving(house, leave) as live:
        runs = [await live.run("w", number=number) for number in range(6)]
    assert [(await house.row(run)).state for run in runs] == ["succeeded", "failed"] * 3


async def test_what_breaks_around_an_attempt_fails_it_and_it_is_tried_again(house: House) -> None:
    @job("w", retry=Retry(attempts=2, initial="1s", jitter=0))
    async def flow(ctx: Context) -> Any:
        return ctx.tenant.settings["region"]

    config = house.config()
    config.settings["region"] = object()
    async with serving(house, flow, options=Options(config=config)) as live:
        run = await live.run("w")
        (entry,) = [e for e in await house.journal(run) if isinstance(e, entries.TaskRetrying)]
        assert "Encoding objects of type object" in entry.error.message
        config.settings["region"] = "eu"
        await live.later(1.5)
    assert await house.output(run) == "eu"


@pytest.mark.parametrize("name", ["a\0b", "a\ud800", 7])
async def test_a_durable_call_with_a_name_that_can_not_be_stored_fails_the_attempt(
    house: House, name: Any
) -> None:
    @job("step")
    async def step(ctx: Context) -> Any:
        return await ctx.step(name, lambda: 1)

    @job("signal")
    async def waits(ctx: Context) -> Any:
        return await ctx.wait_signal(name)

    async with serving(house, step, waits) as live:
        runs = [await live.run("step"), await live.run("signal")]
    for run in runs:
        assert "its name" in (await house.error(run))["message"]
