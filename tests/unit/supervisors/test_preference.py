"""Which node a tenant is best served by: every node comes to the same answer by itself."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest

from orchestrator.model.ids import TenantId
from supervisors.preference import Neighbours, preferred

TENANTS = [TenantId(f"tenant{number}") for number in range(1000)]
NODES = ["a", "b", "c", "d"]


def test_the_answer_stays_over_versions_and_restarts() -> None:
    # Nodes of two versions serve one database while it is upgraded: these never change.
    assert [preferred(TenantId(name), NODES) for name in ("acme", "globex", "initech")] == [
        "a",
        "b",
        "b",
    ]


def test_all_nodes_get_about_the_same_share() -> None:
    shares = Counter(preferred(tenant, NODES) for tenant in TENANTS)
    assert set(shares) == set(NODES)
    assert all(200 < share < 300 for share in shares.values()), shares


@pytest.mark.parametrize("nodes", list(permutations(NODES[:3])))
def test_the_order_in_which_nodes_are_found_does_not_matter(nodes: tuple[str, ...]) -> None:
    assert all(preferred(t, nodes) == preferred(t, NODES[:3]) for t in TENANTS)


@pytest.mark.parametrize("joins", ["d", "a2", "node with a longer name", "ü"])
def test_a_node_that_joins_or_leaves_moves_its_own_share_alone(joins: str) -> None:
    for tenant in TENANTS:
        assert preferred(tenant, [*NODES[:3], joins]) in {joins, preferred(tenant, NODES[:3])}


def test_a_node_alone_is_best_for_everything_even_if_it_does_not_see_itself() -> None:
    neighbours = Neighbours("a")
    assert neighbours.alone
    neighbours.seen([])
    assert neighbours.alone
    assert {neighbours.better_for(tenant) for tenant in TENANTS} == {None}


def test_of_two_nodes_each_leaves_to_the_other_what_that_one_takes() -> None:
    a, b = Neighbours("a"), Neighbours("b")
    for each in (a, b):
        each.seen(["a", "b"])
    assert not a.alone
    for tenant in TENANTS:
        assert {a.better_for(tenant), b.better_for(tenant)} in ({None, "a"}, {None, "b"})
