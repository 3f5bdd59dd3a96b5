"""Recorded histories against code that changed, or did not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import msgspec
import pytest

from orchestrator.engine.history import History
from orchestrator.engine.replay import workflow_of
from orchestrator.model.api import EventView
from orchestrator.model.errors import InvalidRequest, WorkflowNotFound
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.durable import ChildFailed
from orchestrator.workflow.registry import Registry
from orchestrator.workflow.retry import Fail, Retry
from orchestrator.workflow.testing import Divergence, Harness, replay, replay_sync, run_workflow

CALLED: list[str] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    """Forget what other tests have called."""
    CALLED.clear()


def of_one(function: Callable[..., Any], **options: Any) -> Workflow:
    """Return a workflow of one task, named as all of them here."""
    flow = Workflow("one")
    flow.task(name="only", **options)(function)
    return flow


def call(name: str) -> str:
    """Do something that a replay must not do."""
    CALLED.append(name)
    return name


async def order(ctx: Context) -> list[Any]:
    """Make every durable call there is."""
    first = await ctx.step("charge", call, "charge")
    await ctx.sleep("1h")
    by = await ctx.wait_signal("approved")
    with suppress(TimeoutError):
        await ctx.wait_signal("more", timeout="1h")
    good = await ctx.wait(await ctx.start_child("kid"))
    try:
        await ctx.wait(await ctx.start_child("broken"))
    except ChildFailed as error:
        return [first, by, good, error.state, await ctx.map(call, ["a", "b"])]
    return []


def broken(ctx: Context) -> None:
    """Fail."""
    raise Fail("broken")


async def recorded(flow: Workflow, **given: Any) -> list[EventView]:
    """Return the history of a run that went as far as it could."""
    return (await run_workflow(flow, **given)).history


async def ordered() -> list[EventView]:
    """Return the history of an order."""
    children = {"kid": lambda _: "kid", "broken": broken}
    return await recorded(of_one(order), signals={"approved": "ann"}, children=children)


@pytest.mark.requirement("R16.replay")
async def test_unchanged_code_is_compatible_and_nothing_is_done_again() -> None:
    history = await ordered()
    done, CALLED[:] = list(CALLED), []

    found = await replay(history, of_one(order))

    assert done == ["charge", "a", "b"]
    assert found.compatible
    assert [(task.task, task.recorded, task.answered) for task in found.tasks] == [("only", 9, 9)]
    assert CALLED == []


async def test_every_beginning_of_a_history_is_compatible_too() -> None:
    history = await ordered()
    CALLED.clear()

    for end in range(1, len(history)):
        found = await replay(history[:end], of_one(order))
        assert found.compatible, (end, found.divergence)

    assert CALLED == []


async def before(ctx: Context) -> str:
    """Make two steps."""
    await ctx.step("one", call, "one")
    return str(await ctx.step("two", call, "two"))


async def other_name(ctx: Context) -> None:
    await ctx.step("one", call, "one")
    await ctx.step("second", call, "two")


async def other_kind(ctx: Context) -> None:
    await ctx.sleep("1s")


async def fewer(ctx: Context) -> None:
    await ctx.step("one", call, "one")


async def more(ctx: Context) -> None:
    await before(ctx)
    await ctx.start_child("kid")


async def raises(ctx: Context) -> None:
    await ctx.step("one", call, "one")
    raise ValueError("no")


async def raises_at_the_end(ctx: Context) -> None:
    await before(ctx)
    raise ValueError("no")


async def in_a_group(ctx: Context) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(ctx.step, "other", call, "other")


@pytest.mark.parametrize(
    ("code", "number", "expected", "found"),
    [
        (other_name, 1, "step 'two'", "makes step 'second'"),
        (other_kind, 0, "step 'one'", "makes sleep"),
        (fewer, 1, "step 'two'", "returns"),
        (more, 2, "the task's success", "makes child 'kid'"),
        (raises, 1, "step 'two'", "raises ValueError: no (the input of the run is not known)"),
        (
            raises_at_the_end,
            None,
            "the task's success",
            "raises ValueError: no (the input of the run is not known)",
        ),
        (in_a_group, 0, "step 'one'", "makes step 'other'"),
    ],
)
@pytest.mark.requirement("R16.replay")
async def test_the_first_divergence_is_told(
    code: Callable[..., Any], number: int | None, expected: str, found: str
) -> None:
    history = await recorded(of_one(before))
    CALLED.clear()

    result = await replay(history, of_one(code))

    assert result.divergence == Divergence("only", number, expected, found)
    assert CALLED == []


async def test_code_may_go_on_as_it_likes_where_an_unfinished_history_ends() -> None:
    async def old(ctx: Context) -> None:
        await ctx.step("one", call, "one")
        await ctx.wait_signal("go")

    async def new(ctx: Context) -> None:
        await ctx.step("one", call, "one")
        await ctx.wait_signal("go", timeout="1d")
        await ctx.step("new", call, "new")

    async with Harness(of_one(old)) as run:
        await run.until_idle()
        waiting = await replay(run.history, of_one(new))
        await run.signal("go")
        taken = await replay(run.history[:-2], of_one(new))
        finished = await replay(run.history, of_one(new))

    assert waiting.compatible
    assert waiting.tasks[0].note == "the history ends here; the code waits for signal 'go'"
    assert taken.compatible
    assert "makes step 'new', which was not executed" in taken.tasks[0].note
    assert not finished.compatible


async def test_a_wait_that_the_code_gave_up_is_given_up_again() -> None:
    async def race(ctx: Context) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ctx.sleep, 0.5)
            await ctx.step("first", anyio.sleep, 0)
            group.cancel_scope.cancel()

    history = await recorded(of_one(race))

    assert (await replay(history, of_one(race))).compatible


async def test_an_attempt_that_failed_may_make_fewer_calls_than_those_before_it() -> None:
    async def shaky(ctx: Context) -> None:
        await ctx.step("one", call, "one")
        if ctx.attempt == 1:
            await ctx.step("two", call, "two")
        raise ConnectionError("again")

    history = await recorded(of_one(shaky, retry=Retry(attempts=2)))

    assert (await replay(history, of_one(shaky))).compatible


async def test_a_map_of_fewer_items_diverges_and_one_of_more_goes_on() -> None:
    def mapping(count: int) -> Workflow:
        async def each(ctx: Context) -> None:
            await ctx.map(call, range(count))

        return of_one(each)

    history = await recorded(mapping(3))

    fewer = (await replay(history, mapping(2))).divergence
    assert fewer is not None
    assert fewer.expected == "map 'call' with item 2"
    assert (await replay(history[:-2], mapping(4))).compatible
    assert not (await replay(history, mapping(4))).compatible


async def test_another_dag_diverges_and_nothing_is_executed() -> None:
    flow = Workflow("one")

    @flow.task()
    async def another(ctx: Context) -> None:
        call("another")

    result = await replay(await recorded(of_one(before)), flow)

    assert result.divergence is not None
    assert result.divergence.task is None
    assert "tasks that ran: only" in str(result.divergence)
    assert "tasks: another" in str(result.divergence)
    assert result.tasks == []


async def test_tasks_without_durable_calls_are_not_executed() -> None:
    flow = Workflow("two")

    @flow.task()
    async def load(ctx: Context) -> int:
        call("load")
        ctx.set("n", 2)
        return 1

    @flow.task(after=[load])
    async def use(ctx: Context) -> int:
        return int(await ctx.step(f"add {ctx.output(load)} {ctx.get('n')}", int, 3))

    history = await recorded(flow)
    CALLED.clear()
    found = await replay(history, flow)

    assert found.compatible
    assert [task.task for task in found.tasks] == ["use"]
    assert CALLED == []


async def test_the_database_ends_the_replay_of_a_task_and_the_report_says_so() -> None:
    async def counts(ctx: Context) -> None:
        await ctx.step("one", call, "one")
        if ctx.attempt > 1:
            try:
                await ctx.db.execute("DELETE FROM flights")
            except Exception:  # noqa: BLE001 - as careless code does
                call("not caught")
            await ctx.step("two", call, "two")
        raise ConnectionError("again")

    history = await recorded(of_one(counts, retry=Retry(attempts=2)))
    CALLED.clear()
    found = await replay(history, of_one(counts))

    assert found.compatible
    assert found.tasks[0].note.startswith("not run any further: the code uses ctx.db")
    assert CALLED == []


def test_a_sync_task_is_replayed_in_a_thread_and_without_a_loop() -> None:
    def work(ctx: Context) -> Any:
        return anyio.from_thread.run(ctx.step, "one", call, "one")

    history = anyio.run(recorded, of_one(work))
    CALLED.clear()

    assert replay_sync(history, of_one(work)).compatible
    assert CALLED == []


async def test_the_input_is_given_or_in_the_exported_run() -> None:
    async def greet(ctx: Context, name: str) -> None:
        await ctx.step(name, call, name)

    async def greet_number(ctx: Context, name: int) -> None:
        await ctx.step(str(name), call, "number")

    async with Harness(of_one(greet), input={"name": "ann"}) as run:
        await run.finish()
        exported = History(run.history, run.view)

    with pytest.raises(InvalidRequest, match=r"needs the input.*\$\.name"):
        await replay(exported.events, of_one(greet))
    assert (await replay(exported, of_one(greet))).compatible
    assert (await replay(exported.events, of_one(greet), input={"name": "ann"})).compatible
    assert not (await replay(exported, of_one(greet), input={"name": "bob"})).compatible
    changed_type = (await replay(exported, of_one(greet_number))).divergence
    assert changed_type is not None
    assert changed_type.found.startswith("does not take it: $.name: Expected `int`")


async def test_a_history_is_read_as_lines_as_a_list_and_with_its_run(tmp_path: Path) -> None:
    async with Harness(of_one(before)) as run:
        await run.finish()
        events, view = run.history, run.view
    lines = "\n".join(msgspec.json.encode(each).decode() for each in events)
    listed = msgspec.json.format(msgspec.json.encode(events)).decode()
    shown = msgspec.json.format(msgspec.json.encode(view)).decode()
    file = tmp_path / "history.json"
    file.write_text(f"{shown}\n{lines}\n\n")

    assert History.read(lines) == History.read(listed) == History(events)
    assert History.read(file) == History(events, view)
    assert (await replay(file, of_one(before))).compatible


EVENT = '{"number":%d,"at":"2026-01-01T00:00:00Z","epoch":1,"node":"a","event":{"event":"%s"}}'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no events"),
        ("no JSON", "not JSON from line 1 on"),
        (EVENT % (0, "run.paused") + "\n\n{", "not JSON from line 3 on"),
        (EVENT % (1, "run.paused"), "event 0 is missing"),
        ("[1]", "neither an event nor a run"),
        ('{"event": 1}', "what is no event"),
        ('{"workflow": "one"}', "what is no run"),
        (EVENT % (0, "run.flew"), "not known here.*run.flew"),
    ],
)
async def test_what_is_no_history_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        await replay(text, of_one(before))


async def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="No such file"):
        await replay(tmp_path / "none", of_one(before))


async def test_the_workflow_is_told_by_the_run_or_by_the_shape() -> None:
    async with Harness(of_one(before)) as run:
        await run.finish()
        bare, full = History(run.history), History(run.history, run.view)
    flow, newer = of_one(before), of_one(before)
    newer.version = "2"
    other = Workflow("other")
    other.task(name="load")(before)
    twin = of_one(before)
    twin.name = "twin"

    assert workflow_of(full, Registry.of([flow, newer, other])) is flow
    assert workflow_of(full, Registry.of([newer, other])) is newer
    assert workflow_of(bare, Registry.of([flow, other])) is flow
    assert workflow_of(bare, Registry.of([other])) is other
    with pytest.raises(WorkflowNotFound):
        workflow_of(full, Registry.of([other]))
    with pytest.raises(InvalidRequest, match="which workflow"):
        workflow_of(bare, Registry.of([flow, twin]))


async def test_a_run_that_was_retried_is_replayed_from_where_it_began_again() -> None:
    broken = True

    async def work(ctx: Context) -> None:
        await ctx.step("one", call, "one")
        if broken:
            await ctx.step("two", call, "two")
            raise Fail("no")

    async with Harness(of_one(work)) as run:
        await run.until_idle()
        broken = False
        await run.retry()
        assert run.state == "succeeded"

        assert (await replay(run.history, of_one(work))).compatible
