"""A drain goes on while tenants come to rest, and not for one that does not."""

from __future__ import annotations

import anyio
import pytest

from orchestrator.engine.pulse import Pulse
from orchestrator.model.ids import TenantId
from supervisors.drain import LET_GO_SECONDS, all_at_rest
from tests.support.hand_loop import HandLoop


class Tenants:
    """Tenants that come to rest when the test says so, and what was told of it."""

    def __init__(self, *names: str) -> None:
        self.unsettled = [TenantId(name) for name in names]
        self.moved = Pulse()
        self.told: list[tuple[int, int]] = []
        self.left: list[TenantId] | None = None

    async def drain(self, runs_have: float = 60.0) -> None:
        self.left = list(
            await all_at_rest(
                lambda: list(self.unsettled),
                self.moved,
                runs_have=runs_have,
                tell=lambda done, total: self.told.append((done, total)),
            )
        )

    async def settle(self, name: str) -> None:
        self.unsettled.remove(TenantId(name))
        await self.move()

    async def move(self) -> None:
        self.moved.beat()
        await anyio.wait_all_tasks_blocked()


async def test_only_progress_is_told() -> None:
    tenants = Tenants("a", "b", "c")
    async with anyio.create_task_group() as group:
        group.start_soon(tenants.drain)
        await anyio.wait_all_tasks_blocked()
        await tenants.move()
        assert tenants.told == []
        await tenants.settle("b")
        await tenants.move()
        assert tenants.told == [(1, 3)]
        tenants.unsettled.remove(TenantId("a"))
        await tenants.settle("c")
    assert tenants.told == [(1, 3), (3, 3)]
    assert tenants.left == []


async def test_nobody_awake_is_no_drain() -> None:
    tenants = Tenants()
    await tenants.drain()
    assert (tenants.told, tenants.left) == ([], [])


def test_one_that_hangs_is_left_after_its_time() -> None:
    hand, tenants = HandLoop(), Tenants("a", "b")
    hand.run(tenants.drain(runs_have=60.0))
    assert tenants.left == ["a", "b"]
    assert hand.time() == pytest.approx(60.0 + LET_GO_SECONDS)
    hand.close()


def test_who_comes_to_rest_gives_the_others_the_time_to_let_go() -> None:
    hand, tenants = HandLoop(), Tenants("a", "b", "hangs")

    async def one_after_the_other() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(tenants.drain, 60.0)
            await anyio.sleep(60.0 + 0.9 * LET_GO_SECONDS)
            await tenants.settle("a")
            await anyio.sleep(0.9 * LET_GO_SECONDS)  # what they had at first is over
            await tenants.settle("b")

    hand.run(one_after_the_other())
    assert tenants.left == ["hangs"]
    assert hand.time() == pytest.approx(60.0 + 2.8 * LET_GO_SECONDS, abs=1.0)
    hand.close()
