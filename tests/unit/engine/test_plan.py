"""What a run does next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.plan import Plan, plan
from orchestrator.model.states import TaskState
from orchestrator.workflow.graph import Graph, build
from orchestrator.workflow.rules import When, may_start

W, R, OK, BAD, SKIP = (
    TaskState.WAITING,
    TaskState.RUNNING,
    TaskState.SUCCEEDED,
    TaskState.FAILED,
    TaskState.SKIPPED,
)
DIAMOND = build("w", {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")})
ALL = dict.fromkeys("abcd", When.ALL_SUCCEEDED)


@dataclass
class Standing:
    """A task of which only the state is known."""

    state: TaskState


def standing(states: Mapping[str, TaskState]) -> dict[str, Standing]:
    """Return the tasks of a run whose states are these."""
    return {name: Standing(state) for name, state in states.items()}


@pytest.mark.parametrize(
    ("states", "rules", "ready", "skipped", "settled"),
    [
        ((W, W, W, W), {}, "a", "", False),
        ((R, W, W, W), {}, "", "", False),
        ((OK, W, W, W), {}, "bc", "", False),
        ((OK, OK, W, W), {}, "c", "", False),
        ((OK, OK, R, W), {}, "", "", False),
        ((OK, OK, OK, W), {}, "d", "", False),
        ((OK, OK, OK, OK), {}, "", "", True),
        ((BAD, W, W, W), {}, "", "bcd", True),
        ((OK, BAD, R, W), {}, "", "", False),
        ((OK, BAD, OK, W), {}, "", "d", True),
        ((OK, BAD, OK, W), {"d": When.ALL_DONE}, "d", "", False),
        ((OK, BAD, OK, W), {"d": When.ANY_FAILED}, "d", "", False),
        ((BAD, W, W, W), {"b": When.ANY_FAILED}, "b", "c", False),
        ((BAD, W, W, W), {"d": When.ALL_DONE}, "d", "bc", False),
        ((BAD, W, W, W), {"d": When.NONE_FAILED}, "d", "bc", False),
        ((OK, TaskState.RETRYING, OK, W), {"d": When.ANY_SUCCEEDED}, "", "", False),
        ((OK, TaskState.CANCELLED, OK, W), {"d": When.ANY_SUCCEEDED}, "d", "", False),
    ],
)
def test_the_next_moves_of_a_diamond(
    states: tuple[TaskState, ...],
    rules: Mapping[str, When],
    ready: str,
    skipped: str,
    *,
    settled: bool,
) -> None:
    tasks = standing(dict(zip("abcd", states, strict=True)))
    found = plan(DIAMOND, {**ALL, **rules}, tasks)
    assert found == Plan(tuple(ready), tuple(skipped), settled)


@dataclass
class Walk:
    """A run that is driven by its plans, one end of a task at a time."""

    graph: Graph
    rules: Mapping[str, When]
    states: dict[str, TaskState] = field(default_factory=dict)
    settled: bool = False
    ended: list[str] = field(default_factory=list)

    def plan(self) -> Plan:
        """Return the plan from the states alone."""
        return plan(self.graph, self.rules, standing(self.states))

    def end(self, name: str, state: TaskState) -> None:
        """End a task that runs."""
        self.states[name] = state
        self.ended.append(name)

    def step(self) -> list[str]:
        """Take the next plan; return the tasks that run after it."""
        found = self.plan()
        if self.ended:
            tasks = standing(self.states)
            assert plan(self.graph, self.rules, tasks, since=self.ended) == found
        self.ended = []
        for name in (*found.skipped, *found.ready):  # a ready task may come after a skipped one
            upstream = [self.states[up] for up in self.graph.upstream[name]]
            assert all(state.settled for state in upstream), f"{name} was decided too early"
            assert may_start(self.rules[name], upstream) == (name in found.ready)
            assert self.states[name] is W
            self.states[name] = R if name in found.ready else SKIP
        self.settled = found.settled
        return [name for name, state in self.states.items() if state is R]


@st.composite
def walks(draw: st.DrawFn) -> Walk:
    """Draw a DAG with a rule for each task."""
    names = [f"t{number}" for number in range(draw(st.integers(1, 7)))]
    edges = {
        name: tuple(draw(st.lists(st.sampled_from(names[:place]), unique=True)) if place else ())
        for place, name in enumerate(names)
    }
    rules = {name: draw(st.sampled_from(When)) for name in names}
    return Walk(build("w", edges), rules, dict.fromkeys(names, W))


@given(walks(), st.data())
def test_every_run_ends_and_no_task_starts_before_all_upstream_has_settled(
    walk: Walk, data: st.DataObject
) -> None:
    for _ in range(2 * len(walk.states) + 1):
        running = walk.step()
        if walk.settled:
            break
        assert running, "nothing runs, nothing is ready and the run is not through"
        ended = data.draw(st.sampled_from(running))
        walk.end(ended, data.draw(st.sampled_from([OK, BAD])))
    assert walk.settled
    assert all(state.settled for state in walk.states.values())
    assert walk.plan() == Plan((), (), settled=True)


@given(walks(), st.data())
@pytest.mark.requirement("R1.skip")
def test_a_skip_reaches_as_far_in_one_plan_as_in_many(walk: Walk, data: st.DataObject) -> None:
    for name in walk.graph.order:
        if all(walk.states[up] in {OK, BAD} for up in walk.graph.upstream[name]):
            walk.states[name] = data.draw(st.sampled_from([W, OK, BAD]))
    once = walk.plan()
    for name in once.skipped:
        walk.states[name] = SKIP
    again = walk.plan()
    assert again.skipped == ()
    assert set(again.ready) == set(once.ready)
