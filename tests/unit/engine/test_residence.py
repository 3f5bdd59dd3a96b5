"""How many runs a tenant may hold: a share of its own, and what the node can spare."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.residence import LOT, RESIDENT_RUNS, RUN_BYTES, NodeMemory, Residence


def fill(residence: Residence, count: int, *, first: int = 0, input_bytes: int = 0) -> list[UUID]:
    """Let so many runs in."""
    runs = [UUID(int=first + number) for number in range(count)]
    for run in runs:
        residence.enter(run, input_bytes=input_bytes)
    return runs


def test_a_tenant_has_its_share_whatever_the_others_hold() -> None:
    node = NodeMemory(spare=10 * RUN_BYTES)
    greedy, modest = Residence(node), Residence(node)
    assert modest.room == RESIDENT_RUNS + 10
    fill(greedy, RESIDENT_RUNS + 10)
    assert (greedy.room, node.spare) == (0, 0)
    assert modest.room == RESIDENT_RUNS


def test_what_a_run_takes_of_the_node_grows_with_its_input() -> None:
    node = NodeMemory(spare=10 * RUN_BYTES)
    residence = Residence(node)
    fill(residence, RESIDENT_RUNS, input_bytes=RUN_BYTES)
    assert node.spare == 10 * RUN_BYTES, "the tenant's own share is counted in runs"
    fill(residence, 1, first=RESIDENT_RUNS, input_bytes=3 * RUN_BYTES)
    assert residence.room == 6


def test_others_are_fetched_when_many_of_them_fit() -> None:
    residence = Residence(NodeMemory(spare=0))
    runs = fill(residence, RESIDENT_RUNS)
    for run in runs[: LOT - 1]:
        residence.leave(run)
    assert not residence.has_room_for_a_lot
    residence.leave(runs[LOT])
    assert residence.has_room_for_a_lot


def test_who_came_in_without_room_is_made_up_for_before_anyone_else_comes() -> None:
    node = NodeMemory(spare=0)
    residence = Residence(node)
    runs = fill(residence, RESIDENT_RUNS + 2)
    residence.leave(runs[0])
    assert residence.room == 1
    assert node.spare == -2 * RUN_BYTES
    residence.leave(runs[-1])
    residence.leave(runs[-2])
    assert (residence.room, node.spare) == (1, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, RESIDENT_RUNS + 50), st.integers(0, 5000)),
        max_size=4,
    )
)
def test_all_is_given_back_however_the_tenants_end(parts: list[tuple[str, int, int]]) -> None:
    node = NodeMemory(spare=100 * RUN_BYTES)
    tenants = {"a": Residence(node), "b": Residence(node)}
    entered: dict[str, list[UUID]] = {"a": [], "b": []}
    for number, (name, count, size) in enumerate(parts):
        first = number * 10_000
        entered[name] += fill(tenants[name], count, first=first, input_bytes=size)
    for run in reversed(entered["a"]):
        tenants["a"].leave(run)
    tenants["b"].close()
    assert node.spare == 100 * RUN_BYTES
    assert all(tenant.room == RESIDENT_RUNS + 100 for tenant in tenants.values())
