"""The DAG of a workflow: checked, ordered, digested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.errors import DefinitionError
from orchestrator.workflow.graph import Graph, build

DIAMOND = {"load": (), "left": ("load",), "right": ("load",), "join": ("left", "right")}


@st.composite
def dags(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """Draw a DAG whose tasks are declared in any order."""
    names = [f"t{number}" for number in range(draw(st.integers(1, 8)))]
    edges = {
        name: tuple(draw(st.lists(st.sampled_from(names[:place]), unique=True)) if place else ())
        for place, name in enumerate(names)
    }
    return {name: edges[name] for name in draw(st.permutations(names))}


def reach(edges: Mapping[str, Sequence[str]], name: str) -> set[str]:
    """Return everything before `name`, the slow way."""
    return {before for up in edges[name] for before in (up, *reach(edges, up))}


def test_a_diamond_has_one_sink_and_both_branches_before_it() -> None:
    graph = build("w", DIAMOND)
    assert graph.order == ("load", "left", "right", "join")
    assert graph.ancestors["join"] == ("load", "left", "right")
    assert [graph.order[place] for place in graph.following["load"]] == ["left", "right"]
    assert graph.sinks == ("join",)


def test_the_order_of_declaration_breaks_ties() -> None:
    assert build("w", {"c": (), "a": (), "b": ("a",)}).order == ("c", "a", "b")
    assert build("w", {"b": ("a",), "c": (), "a": ()}).order == ("c", "a", "b")


@pytest.mark.parametrize(
    ("edges", "circle"),
    [
        ({"a": ("a",)}, "a -> a"),
        ({"a": ("b",), "b": ("a",)}, "a -> b -> a"),
        ({"x": (), "a": ("x", "c"), "b": ("a",), "c": ("b",)}, "a -> c -> b -> a"),
        ({"after": ("a",), "a": ("b",), "b": ("a",)}, "a -> b -> a"),
    ],
)
def test_a_cycle_is_named_without_what_only_leads_to_it(
    edges: dict[str, tuple[str, ...]], circle: str
) -> None:
    with pytest.raises(DefinitionError, match=f"wait for each other: {circle}$"):
        build("w", edges)


@pytest.mark.requirement("R1.unknown")
def test_an_unknown_task_is_named_with_who_asked_for_it() -> None:
    with pytest.raises(DefinitionError, match="task 'b' comes after 'gone', which it does not"):
        build("w", {"a": (), "b": ("a", "gone")})


@given(dags())
def test_every_task_comes_after_all_its_ancestors(edges: dict[str, tuple[str, ...]]) -> None:
    graph = build("w", edges)
    assert sorted(graph.order) == sorted(edges)
    for place, name in enumerate(graph.order):
        assert set(graph.ancestors[name]) == reach(edges, name) <= set(graph.order[:place])
        assert sorted(graph.ancestors[name], key=graph.order.index) == [*graph.ancestors[name]]
    assert graph.sinks == tuple(n for n in graph.order if not any(n in up for up in edges.values()))


@given(dags())
def test_the_shape_is_that_of_the_edges_not_of_their_order(
    edges: dict[str, tuple[str, ...]],
) -> None:
    backwards = {name: tuple(reversed(edges[name])) for name in reversed(edges)}
    assert build("w", edges).shape == build("other", backwards).shape


@given(dags(), dags())
def test_two_graphs_have_one_shape_only_when_they_are_the_same(
    one: dict[str, tuple[str, ...]], other: dict[str, tuple[str, ...]]
) -> None:
    def plain(edges: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
        return {name: set(upstream) for name, upstream in edges.items()}

    graphs: list[Graph] = [build("w", one), build("w", other)]
    assert (graphs[0].shape == graphs[1].shape) == (plain(one) == plain(other))


def test_a_long_chain_is_ordered_at_once() -> None:
    edges = {f"t{n}": (f"t{n - 1}",) if n else () for n in range(1000)}
    assert build("w", edges).order[-1] == "t999"
