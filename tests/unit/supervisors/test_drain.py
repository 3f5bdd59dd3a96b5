"""A drain goes on while tenants come to rest, and not for one that does not."""

from __future__ import annotations

import anyio
import pytest

from orchestrator.engine.pulse import Pulse
from orchestrator.model.ids import TenantId
from supervisors import drain
from supervisors.drain import all_at_rest


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


async def test_one_that_hangs_is_left_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "LET_GO_SECONDS", 0.0)
    tenants = Tenants("a", "b")
    await tenants.drain(runs_have=0.0)
    assert tenants.left == ["a", "b"]


async def test_who_comes_to_rest_gives_the_others_the_time_to_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drain, "LET_GO_SECONDS", 0.05)
    tenants = Tenants("a", "b")
    async with anyio.create_task_group() as group:
        group.start_soon(tenants.drain, 0.0)
        await anyio.wait_all_tasks_blocked()
        monkeypatch.setattr(drain, "LET_GO_SECONDS", 60.0)
        await tenants.settle("a")
        await anyio.sleep(0.06)  # what they had at first is over
        await tenants.settle("b")
    assert tenants.left == []
