"""What a run does next, from the states of its tasks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.model.states import TaskState
from orchestrator.workflow.graph import Graph
from orchestrator.workflow.rules import When, may_start


@dataclass(frozen=True, slots=True)
class Plan:
    """The tasks that may start and those that never will; `settled` when nothing is left to do."""

    ready: tuple[str, ...]
    skipped: tuple[str, ...]
    settled: bool


def plan(graph: Graph, rules: Mapping[str, When], states: Mapping[str, TaskState]) -> Plan:
    """Return the next moves of a run.

    A waiting task is decided once everything directly upstream has settled; a skip decided here
    counts for the tasks after it, so one call goes as far as it can.
    """
    after = dict(states)
    ready: list[str] = []
    skipped: list[str] = []
    for name in graph.order:
        if after[name] is not TaskState.WAITING:
            continue
        upstream = [after[up] for up in graph.upstream[name]]
        if not all(state.settled for state in upstream):
            continue
        if may_start(rules[name], upstream):
            ready.append(name)
        else:
            skipped.append(name)
            after[name] = TaskState.SKIPPED
    settled = not ready and all(state.settled for state in after.values())
    return Plan(tuple(ready), tuple(skipped), settled)
