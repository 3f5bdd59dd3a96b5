"""What a run does next, from the states of its tasks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.model.api import Failure
from orchestrator.model.states import SETTLED, TaskState
from orchestrator.workflow.graph import Graph
from orchestrator.workflow.rules import When, may_start


@dataclass(frozen=True, slots=True)
class Plan:
    """The tasks that may start and those that never will; `settled` when nothing is left to do.

    `failed` are those whose condition could not be told, with the reason.
    """

    ready: tuple[str, ...]
    skipped: tuple[str, ...]
    settled: bool
    failed: tuple[tuple[str, Failure], ...] = ()


def plan(
    graph: Graph,
    rules: Mapping[str, When],
    states: Mapping[str, TaskState],
    holds: Callable[[str], bool | Failure] = bool,  # every name is true
) -> Plan:
    """Return the next moves of a run.

    A waiting task is decided once everything directly upstream has settled: by its rule, and then
    by its condition, which `holds` tells. What is decided here counts for the tasks after it, so
    one call goes as far as it can.
    """
    after = dict(states)
    ready: list[str] = []
    skipped: list[str] = []
    failed: list[tuple[str, Failure]] = []
    for name in graph.order:
        if after[name] is not TaskState.WAITING:
            continue
        upstream = [after[up] for up in graph.upstream[name]]
        if not SETTLED.issuperset(upstream):
            continue
        held = may_start(rules[name], upstream) and holds(name)
        if isinstance(held, Failure):
            failed.append((name, held))
            after[name] = TaskState.FAILED
        elif held:
            ready.append(name)
        else:
            skipped.append(name)
            after[name] = TaskState.SKIPPED
    settled = not ready and SETTLED.issuperset(after.values())
    return Plan(tuple(ready), tuple(skipped), settled, tuple(failed))
