"""The pictures of states show what the code does: every arrow is walked, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from uuid import UUID

import msgspec
import pytest

from orchestrator.engine import entries
from orchestrator.engine.entries import AnyEntry
from orchestrator.engine.execution import Execution
from orchestrator.engine.views import view_of
from orchestrator.model.api import Failure
from orchestrator.model.states import RunState, TaskState
from orchestrator.store.tenant.journal import NewRun
from orchestrator.store.tenant.runs import Moment, Stored
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.registry import Registry
from supervisors.decide import Ended, Policy, Quarantine, Record, Rest, Restart, decide
from supervisors.decide import Failure as Ending
from supervisors.slot import AT_REST, MOVES, SlotState
from tests.docs.pages import DOCS

Arrow = tuple[str, str]

PAGE = (DOCS / "explanation" / "state-machines.md").read_text(encoding="utf-8")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ERROR = Failure(type="ValueError", message="no")
RUN = UUID(int=1)
NULL = msgspec.Raw(b"null")

flow = Workflow("w")


@flow.task()
async def a(ctx: Context) -> None: ...


@flow.task(after=[a])
async def b(ctx: Context) -> None: ...


# What happens to a run, one entry of its journal after the other.
BEGUN = entries.RunStarted(shape=flow.graph.shape)
PAUSED, RESUMED = entries.RunPaused(), entries.RunResumed()
CANCELLED, SUCCEEDED = entries.RunCancelled(), entries.RunSucceeded()
FAILED, DIED = entries.RunFailed(error=ERROR), entries.RunDied(error=ERROR)
RETRIED = entries.RunRetried(tasks=["a", "b"])
CRASHED = entries.RunRecovered(lost=["a"], crashed=True)
A = entries.TaskStarted(task="a", attempt=1)
A_WAITS = entries.TaskParked(task="a", due_at=NOW)
A_GOES_ON = entries.TaskResumed(task="a")
A_RESTS = entries.TaskRetrying(task="a", attempt=1, error=ERROR, due_at=NOW)
A_DONE = entries.TaskSucceeded(task="a", attempt=1, output=NULL)
A_FAILED = entries.TaskFailed(task="a", attempt=1, error=ERROR)
A_SKIPPED, B_SKIPPED = entries.TaskSkipped(task="a"), entries.TaskSkipped(task="b")
B = entries.TaskStarted(task="b", attempt=1)
B_DONE = entries.TaskSucceeded(task="b", attempt=1, output=NULL)

RUNNING: list[AnyEntry] = [BEGUN, A]
WAITING: list[AnyEntry] = [*RUNNING, A_WAITS]
STORIES: list[Sequence[AnyEntry]] = [
    [*RUNNING, A_DONE, B, B_DONE, SUCCEEDED],
    [*RUNNING, A_RESTS, A, A_FAILED, B_SKIPPED, FAILED, RETRIED, A],
    [*WAITING, A_GOES_ON, PAUSED, A_DONE, RESUMED, B, B_DONE, SUCCEEDED],
    [*WAITING, PAUSED, RESUMED, PAUSED, A_GOES_ON, A_DONE, B_SKIPPED, SUCCEEDED],
    [*WAITING, A_FAILED, B_SKIPPED, FAILED],
    [*RUNNING, A_RESTS, A_FAILED, B_SKIPPED, FAILED],
    [*RUNNING, PAUSED, CRASHED, DIED, RETRIED, RESUMED, A, CRASHED, DIED, RETRIED],
    [*RUNNING, CRASHED, A, CRASHED, A_FAILED, B_SKIPPED, FAILED],
    [*RUNNING, CRASHED, CANCELLED],
    [BEGUN, A_FAILED, B_SKIPPED, FAILED],
    [A_SKIPPED, B_SKIPPED, SUCCEEDED],
    [PAUSED, RESUMED, FAILED, RETRIED],
    [PAUSED, FAILED, RETRIED],
    [*WAITING, FAILED, RETRIED],
    [*RUNNING, A_RESTS, CANCELLED],
    *([*before, CANCELLED] for before in ([], RUNNING, WAITING, [PAUSED])),
]


def drawn(heading: str) -> set[Arrow]:
    """Return the arrows of the picture below a heading; those of a group are those of each."""
    picture = re.split(rf"^## {heading}$", PAGE, flags=re.MULTILINE)[1].split("```")[1]
    groups = {
        name: {state for pair in re.findall(r"(\w+) --> (\w+)", inside) for state in pair}
        for name, inside in re.findall(r"state (\w+) \{(.*?)\}", picture, re.DOTALL)
    }
    arrows = re.findall(r"^ *(\w+) --> (\w+)", picture, re.MULTILINE)
    return {
        (start, end)
        for first, second in arrows
        for start in groups.get(first, {first})
        for end in groups.get(second, {second})
    }


def walked(states: Iterable[str]) -> set[Arrow]:
    """Return the arrows of a walk."""
    return {(before, after) for before, after in pairwise(states) if before != after}


def execution(story: Sequence[AnyEntry] = ()) -> Execution:
    """Return the run to which all this has happened."""
    row = NewRun(RUN, "w", "1", "queued", "default", 0, 0, 1, None, "[]", "{}")
    run = Execution(row, flow, epoch=1)
    for entry in story:
        run.apply(entry)
    return run


def states_of_tasks(story: Sequence[AnyEntry]) -> dict[str, TaskState]:
    """Return where people see the tasks after all this."""
    times = (NOW, None, None, None)
    row = Stored(
        RUN, "w", "1", "queued", "default", 0, *times, "{}", None, None, None, [], None, None
    )
    moment = Moment(0, NOW, 1, "a", entries.encode(list(story)))
    view = view_of(row, [moment], Registry.of([flow]))
    return {task.name: task.state for task in view.tasks}


def steps(story: Sequence[AnyEntry]) -> list[Sequence[AnyEntry]]:
    """Return the story after each of its entries, from nothing on."""
    return [story[:length] for length in range(len(story) + 1)]


def test_the_picture_of_a_run_shows_where_its_journal_takes_it() -> None:
    arrows = {arrow for s in STORIES for arrow in walked(execution(t).state for t in steps(s))}
    # Nothing in the journal tells of this: the owner has not the code, and another may have it.
    for state in {arrow[0] for arrow in arrows} - {"failed", "dead"}:
        arrows |= {(state, "blocked"), ("blocked", state)}
    arrows.add(("blocked", "cancelled"))

    assert drawn("A run") == arrows
    assert {state for arrow in arrows for state in arrow} == set(RunState)


def test_only_failed_and_dead_runs_come_back() -> None:
    ended = {state for state in RunState if state.finished}

    assert {start for start, _ in drawn("A run")} & ended == {"failed", "dead"}


@pytest.mark.parametrize("state", [s for s in RunState if not s.finished])
def test_every_run_that_has_not_finished_can_be_cancelled(state: RunState) -> None:
    assert (state, "cancelled") in drawn("A run")


def test_the_picture_of_a_task_shows_what_people_see_of_it() -> None:
    arrows = {
        arrow
        for story in STORIES
        for name in flow.tasks
        for arrow in walked(states_of_tasks(told)[name] for told in steps(story))
    }

    assert drawn("A task of a run") == arrows
    assert {state for arrow in arrows for state in arrow} == set(TaskState)


def test_the_picture_of_a_tenant_shows_the_moves_of_its_slot() -> None:
    moves = {(start, end) for start, ends in MOVES.items() for end in ends}

    assert drawn("A tenant on a node") == moves
    assert set(MOVES) == set(SlotState)


@pytest.mark.parametrize("failure", [None, *Ending])
def test_what_is_decided_at_the_end_of_a_supervisor_is_an_arrow(failure: Ending | None) -> None:
    after = {Rest: "dormant", Restart: "backoff", Quarantine: "quarantined"}
    record = Record(crashes=(0.0,) * 5)
    for before in (Record(), record):
        ended = Ended(failure=failure, error="boom")
        decision, _ = decide(ended, before, Policy(), now=1.0, chance=0.5)

        for state in set(SlotState) - AT_REST - {SlotState.BACKOFF}:
            assert after[type(decision)] in MOVES[state]
