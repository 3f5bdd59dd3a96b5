"""A run in memory is the fold of its journal, live and read back alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine import entries
from orchestrator.engine.execution import Execution
from orchestrator.model.api import Failure
from orchestrator.model.states import RunState, TaskState
from orchestrator.store.tenant.journal import NewRun
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.rules import When

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = UUID(int=7)
ERROR = Failure(type="ValueError", message="no")


async def nothing(ctx: Context) -> None:
    """Do nothing."""


def workflow(**after: str) -> Workflow:
    """Return a workflow: the letters a task comes after."""
    made = Workflow("w")
    for name, upstream in after.items():
        made.task(name=name, after=list(upstream), when=When.ALL_DONE)(nothing)
    return made


DIAMOND = workflow(a="", b="a", c="a", d="bc")


def execution(flow: Workflow = DIAMOND, given: str = "{}") -> Execution:
    """Return a run that nothing has happened to."""
    row = NewRun(RUN, flow.name, flow.version, "queued", "default", 0, 0, 1, None, "[]", given)
    run = Execution(row, flow, epoch=1)
    run.drain()
    return run


def raw(value: Any) -> msgspec.Raw:
    """Return a value as JSON."""
    return msgspec.Raw(msgspec.json.encode(value))


@dataclass(frozen=True)
class Told:
    """All that a run says of itself, but for what waits for a slot, which no entry tells."""

    state: RunState
    error: Failure | None
    shape: str | None
    tasks: dict[str, Any]
    row: object


def told(run: Execution) -> Told:
    """Return what `run` says of itself."""
    tasks = {}
    for name, task in run.tasks.items():
        state = TaskState.WAITING if task.state is TaskState.READY else task.state
        if task.state is TaskState.READY and task.due_at is not None:
            state = TaskState.RETRYING
        values = (task.attempt, task.failures, bytes(task.output), bytes(task.values))
        tasks[name] = (state, *values, task.error, task.due_at)
    return Told(run.state, run.error, run.shape, tasks, run._row())  # noqa: SLF001 - what is written


class Engine:
    """Drives a run as the engine does, with a flush where the test wants one."""

    def __init__(self, flow: Workflow, data: st.DataObject) -> None:
        self.live = execution(flow)
        self.flow = flow
        self.data = data
        self.journal: list[tuple[int, str]] = []
        self.clock = NOW

    def flush(self) -> None:
        """Write what happened since the last one."""
        logged = self.live.drain().logged
        if logged is not None:
            self.journal.append((logged.seq, logged.entries))

    def replayed(self) -> Execution:
        """Return the run as a new owner reads it."""
        again = execution(self.flow)
        for first, text in self.journal:
            again.replay(first, text)
        return again

    def advance(self) -> None:
        """Take the next plan."""
        found = self.live.next()
        for name in found.skipped:
            self.live.record(entries.TaskSkipped(task=name))
        for name in found.ready:
            self.live.tasks[name].state = TaskState.READY
        if found.settled and not self.live.state.finished:
            failure = self.live.first_failure
            self.live.record(
                entries.RunFailed(error=failure) if failure else entries.RunSucceeded()
            )

    def moves(self) -> list[tuple[str, str]]:
        """Return what may happen now."""
        verbs = {TaskState.READY: "start", TaskState.RUNNING: "end", TaskState.RETRYING: "rested"}
        return [(verbs[t.state], n) for n, t in self.live.tasks.items() if t.state in verbs]

    def move(self, verb: str, name: str) -> None:
        """Let one thing happen."""
        task = self.live.tasks[name]
        if verb == "rested":
            task.state = TaskState.READY
            return
        if verb == "start":
            if not self.live.started:
                self.live.record(entries.RunStarted(shape=self.flow.graph.shape))
            self.live.record(entries.TaskStarted(task=name, attempt=task.attempt + 1))
            return
        self.live.record(self.end(name, task.attempt))
        self.advance()

    def end(self, name: str, attempt: int) -> entries.AnyTaskEntry:
        """Return one way in which an attempt may end."""
        self.clock += timedelta(seconds=self.data.draw(st.integers(1, 100)))
        match self.data.draw(st.sampled_from(["ok", "set", "retry", "failed"])):
            case "ok":
                return entries.TaskSucceeded(task=name, attempt=attempt, output=raw([name]))
            case "set":
                values = raw({name: attempt, "last": name})
                return entries.TaskSucceeded(
                    task=name, attempt=attempt, output=raw(None), values=values
                )
            case "retry" if attempt < 4:
                return entries.TaskRetrying(
                    task=name, attempt=attempt, error=ERROR, due_at=self.clock
                )
            case _:
                return entries.TaskFailed(task=name, attempt=attempt, error=ERROR)

    def crash(self) -> None:
        """Read the run back as a new owner, and let it go on there."""
        self.flush()
        self.live = self.replayed()
        if self.live.started:
            lost = [n for n, t in self.live.tasks.items() if t.state is TaskState.RUNNING]
            self.live.record(entries.RunRecovered(lost=lost))
        self.advance()


FLOWS = [DIAMOND, workflow(a="", b=""), workflow(a="", b="a", c="b"), workflow(a="", b="", c="ab")]


@given(st.sampled_from(FLOWS), st.data())
def test_the_live_fold_is_the_fold_of_the_journal(flow: Workflow, data: st.DataObject) -> None:
    engine = Engine(flow, data)
    engine.advance()
    for _ in range(data.draw(st.integers(0, 25))):
        if not (moves := engine.moves()):
            break
        engine.move(*data.draw(st.sampled_from(moves)))
        if data.draw(st.booleans()):
            engine.flush()
        if data.draw(st.integers(0, 9)) == 0:
            engine.crash()
    before = told(engine.live)
    engine.flush()
    assert told(engine.replayed()) == before
    firsts = [first for first, _ in engine.journal]
    lengths = [len(entries.decode(text)) for _, text in engine.journal]
    assert firsts == [sum(lengths[:place]) for place in range(len(lengths))]


@given(st.data())
def test_a_run_waits_only_when_nothing_runs_and_something_rests(data: st.DataObject) -> None:
    engine = Engine(DIAMOND, data)
    engine.advance()
    for _ in range(20):
        if not (moves := engine.moves()):
            break
        engine.move(*data.draw(st.sampled_from(moves)))
        if data.draw(st.integers(0, 5)) == 0:
            engine.crash()
        states = [task.state for task in engine.live.tasks.values()]
        if engine.live.state is RunState.WAITING:
            assert TaskState.RUNNING not in states
            assert engine.live.next_due is not None


def test_a_run_whose_last_running_task_ends_while_another_rests_waits() -> None:
    run = execution(workflow(a="", b=""))
    run.record(entries.RunStarted(shape=run.workflow.graph.shape))
    for name in "ab":
        run.record(entries.TaskStarted(task=name, attempt=1))
    states = []
    for entry in (
        entries.TaskRetrying(task="a", attempt=1, error=ERROR, due_at=NOW),
        entries.TaskSucceeded(task="b", attempt=1, output=raw(1)),
        entries.RunRecovered(lost=[]),
        entries.TaskStarted(task="a", attempt=2),
    ):
        run.record(entry)
        states.append(run.state)
    assert states == ["running", "waiting", "waiting", "running"]


def test_what_waits_for_a_slot_does_not_make_the_live_run_another_than_the_stored_one() -> None:
    run = execution(workflow(a="", b=""))
    run.record(entries.RunStarted(shape=run.workflow.graph.shape))
    for name in "ab":
        run.record(entries.TaskStarted(task=name, attempt=1))
    run.record(entries.TaskRetrying(task="a", attempt=1, error=ERROR, due_at=NOW))
    run.tasks["a"].state = TaskState.READY
    run.record(entries.TaskRetrying(task="b", attempt=1, error=ERROR, due_at=NOW))
    logged = run.drain().logged
    assert logged is not None
    again = execution(workflow(a="", b=""))
    again.replay(logged.seq, logged.entries)
    assert again.state is run.state


def test_a_task_sees_what_its_ancestors_set_in_topological_order_and_no_siblings() -> None:
    run = execution(given='{"x":"input","file":"f"}')
    for name, values in {"b": {"x": "b", "only_b": 1}, "a": {"x": "a"}, "c": {"x": "c"}}.items():
        run.apply(entries.TaskSucceeded(task=name, attempt=1, output=raw(name), values=raw(values)))
    assert run.before("a")[0] == {}  # but for the input, which is its own
    assert run.before("c")[0] == {"x": "a"}
    assert run.before("d")[0] == {"x": "c", "only_b": 1}
    assert dict(run.before("c")[1]) == {"a": "a"}


def test_each_look_at_an_output_is_a_value_of_its_own() -> None:
    run = execution()
    run.apply(entries.TaskSucceeded(task="a", attempt=1, output=raw([1])))
    outputs = run.before("b")[1]
    outputs["a"].append(2)
    assert outputs["a"] == [1]


def test_the_output_of_a_run_is_its_sinks() -> None:
    one, two = execution(), execution(workflow(a="", b="a", c="a"))
    for run in (one, two):
        for name in run.tasks:
            run.apply(entries.TaskSucceeded(task=name, attempt=1, output=raw(name)))
    assert one.output() == b'"d"'
    assert two.output() == b'{"b":"b","c":"c"}'


@pytest.mark.requirement("R13.order")
def test_a_gap_in_the_journal_is_not_guessed_over() -> None:
    run = execution()
    with pytest.raises(ValueError, match="entry 0 is missing, found 1"):
        run.replay(1, entries.encode([entries.RunSucceeded()]))


def test_an_entry_this_version_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Invalid value 'task\.dreamt'"):
        execution().replay(0, '[{"event":"task.dreamt","task":"a"}]')


def test_a_run_of_another_shape_says_why_it_can_not_go_on() -> None:
    run = execution()
    assert run.mismatch is None
    run.apply(entries.RunStarted(shape="another"))
    assert run.mismatch is not None
    assert "the tasks of workflow 'w' changed under version '1'" in run.mismatch
