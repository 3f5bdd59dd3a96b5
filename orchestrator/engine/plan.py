"""What a run does next, from the states of its tasks. Pure."""

from __future__ import annotations

import heapq
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from orchestrator.model.api import Failure
from orchestrator.model.states import TaskState
from orchestrator.workflow.graph import Graph
from orchestrator.workflow.rules import When, may_start

_WAITING = TaskState.WAITING  # see `model.states`


class Plan(msgspec.Struct, frozen=True):
    """The tasks that may start and those that never will; `settled` when nothing is left to do.

    `failed` are those whose condition could not be told, with the reason.
    """

    ready: tuple[str, ...]
    skipped: tuple[str, ...]
    settled: bool
    failed: tuple[tuple[str, Failure], ...] = ()


class Standing(Protocol):
    """What of a task a plan looks at."""

    @property
    def state(self) -> TaskState: ...


def plan(
    graph: Graph,
    rules: Mapping[str, When],
    tasks: Mapping[str, Standing],
    holds: Callable[[str], bool | Failure] = bool,  # every name is true
    *,
    since: Iterable[str] | None = None,
) -> Plan:
    """Return the next moves of a run.

    A waiting task is decided once everything directly upstream has settled: by its rule, and then
    by its condition, which `holds` tells. What is decided here counts for the tasks after it, so
    one call goes as far as it can. `since` are the tasks that have settled since the last call:
    only what comes after them can be decided anew. Without it every task is looked at.
    """
    decided: dict[str, TaskState] = {}
    ready: list[str] = []
    skipped: list[str] = []
    failed: list[tuple[str, Failure]] = []
    line = list(range(len(graph.order))) if since is None else _after(graph, since)
    last = -1
    while line:
        place = heapq.heappop(line)
        name = graph.order[place]
        if place == last or tasks[name].state is not _WAITING:
            continue
        last = place
        upstream = [decided.get(up) or tasks[up].state for up in graph.upstream[name]]
        if not all(map(_SETTLED, upstream)):
            continue
        held = may_start(rules[name], upstream) and holds(name)
        if held is True:
            ready.append(name)
            continue
        if isinstance(held, Failure):
            failed.append((name, held))
            decided[name] = TaskState.FAILED
        else:
            skipped.append(name)
            decided[name] = TaskState.SKIPPED
        for following in graph.following[name]:
            heapq.heappush(line, following)
    # A task settles after all upstream of it, so the sinks tell of all.
    settled = not ready and all(
        (decided.get(name) or tasks[name].state).settled for name in graph.sinks
    )
    return Plan(tuple(ready), tuple(skipped), settled, tuple(failed))


_SETTLED = operator.attrgetter("settled")


def _after(graph: Graph, names: Iterable[str]) -> list[int]:
    """Return the places in the order of what comes directly after `names`, each once, sorted."""
    following = [graph.following[name] for name in names]
    return list(following[0]) if len(following) == 1 else sorted(set().union(*following))
