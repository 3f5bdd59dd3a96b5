"""What the peers' scripts share: tenants' shares, and what a killed process leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.peers.spread import tenants
from benchmarks.peers.work import Life, Tally
from benchmarks.protocol import Order, WrongResult


def test_each_tenant_has_a_schema_and_an_even_share() -> None:
    order = Order("D", "postgresql://", Path("/tmp"), count=100, size=3)

    shares = tenants(order)

    assert [each.schema for each in shares] == ["tenant_0", "tenant_1", "tenant_2"]
    assert {each.count for each in shares} == {33}
    assert shares[1].arguments() == [
        "tenant", "--url=postgresql://", "--home=/tmp", "--count=33", "--size=3",
        "--schema=tenant_1",
    ]  # fmt: skip


def test_a_life_tells_when_each_run_was_started_first_in_it(tmp_path: Path) -> None:
    first, second = Life(tmp_path / "lives", 1), Life(tmp_path / "lives", 2)

    for run in (7, 8):
        first.note(run)
    second.note(8)
    before = second.started["8"]
    second.note(8)

    assert list(first.started) == ["7", "8"]
    assert second.started == {"8": before}


async def test_held_work_returns_in_its_second_life_only(tmp_path: Path) -> None:
    tally = Tally(life=Life(tmp_path / "lives", 2))

    await tally.hold("run")

    assert list(Life(tmp_path / "lives", 2).started) == ["run"]
    with pytest.raises(WrongResult):
        await Tally().hold("run")
