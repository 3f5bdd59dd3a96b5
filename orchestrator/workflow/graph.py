"""Checks and orders the DAG of a workflow. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.model.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class Graph:
    """A checked DAG.

    `order` is topological, with the order of declaration breaking ties. `upstream` are the tasks
    that each comes directly after, and `following` the places in `order` of those that come
    directly after it; `ancestors` are everything before it, in order, and `sinks` the tasks nothing
    comes after. `shape` is a digest of names and edges: two graphs with one shape can continue each
    other's runs.
    """

    order: tuple[str, ...]
    upstream: Mapping[str, tuple[str, ...]]
    following: Mapping[str, tuple[int, ...]]
    ancestors: Mapping[str, tuple[str, ...]]
    sinks: tuple[str, ...]
    shape: str


def build(workflow: str, edges: Mapping[str, Sequence[str]]) -> Graph:
    """Return the graph of `edges`, which maps each task, as declared, to the tasks it comes after.

    Raises DefinitionError naming the tasks for an unknown name or a cycle.
    """
    _refuse_unknown(workflow, edges)
    order = _sort(workflow, edges)
    place = {name: index for index, name in enumerate(order)}
    ancestors: dict[str, tuple[str, ...]] = {}
    for name in order:
        found = {before for up in edges[name] for before in (*ancestors[up], up)}
        ancestors[name] = tuple(sorted(found, key=place.__getitem__))
    following = {name: tuple(place[n] for n in order if name in edges[n]) for name in order}
    return Graph(
        order=order,
        upstream={name: tuple(edges[name]) for name in order},
        following=following,
        ancestors=ancestors,
        sinks=tuple(name for name in order if not following[name]),
        shape=_digest(edges),
    )


def _refuse_unknown(workflow: str, edges: Mapping[str, Sequence[str]]) -> None:
    for name, upstream in edges.items():
        for up in upstream:
            if up not in edges:
                raise DefinitionError(
                    f"workflow {workflow!r}: "
                    f"task {name!r} comes after {up!r}, which it does not have"
                )


def _sort(workflow: str, edges: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    order: list[str] = []
    placed: set[str] = set()
    while len(order) < len(edges):
        ready = [n for n in edges if n not in placed and all(up in placed for up in edges[n])]
        if not ready:
            circle = " -> ".join(_cycle({n: edges[n] for n in edges if n not in placed}))
            raise DefinitionError(f"workflow {workflow!r}: tasks wait for each other: {circle}")
        order.append(ready[0])
        placed.add(ready[0])
    return tuple(order)


def _cycle(edges: Mapping[str, Sequence[str]]) -> list[str]:
    path = [next(iter(edges))]
    while True:
        following = next(up for up in edges[path[-1]] if up in edges)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)


def _digest(edges: Mapping[str, Sequence[str]]) -> str:
    text = ";".join(f"{name}<{','.join(sorted(edges[name]))}" for name in sorted(edges))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
