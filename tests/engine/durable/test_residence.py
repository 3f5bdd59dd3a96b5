"""How many runs are held in memory, and what becomes of those that find no room."""

from __future__ import annotations

import anyio
import pytest

from orchestrator.engine.residence import LOT, RESIDENT_RUNS, NodeMemory
from orchestrator.engine.slots import NodeSlots
from orchestrator.engine.table import LOOK_FOR_ROOM
from orchestrator.model.api import StartRun
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from tests.engine.durable.driving import resident
from tests.engine.live import House, Options, serving
from tests.support.wait import until

BURST = RESIDENT_RUNS + 200
OUTSIDE = "SELECT count(*) FROM tenant.wf_run WHERE epoch = 0 AND finished_at IS NULL"
CRASHES = "SELECT count(*) FROM tenant.wf_event WHERE entries::text LIKE '%\"crashed\":true%'"


@pytest.mark.parametrize(("spare", "left_outside"), [(None, 0), (0, BURST - RESIDENT_RUNS)])
async def test_a_burst_is_held_as_far_as_the_node_can_spare_the_memory(
    house: House, spare: int | None, left_outside: int
) -> None:
    door = anyio.Event()

    @job("w")
    async def flow(ctx: Context) -> None:
        await door.wait()

    memory = NodeMemory() if spare is None else NodeMemory(spare)
    before = memory.spare
    async with serving(house, flow, options=Options(slots=NodeSlots(64, memory))) as live:
        await live.submit_all([StartRun(workflow="w")] * BURST)
        assert await house.value(OUTSIDE) == left_outside
        assert len(resident(live)) == BURST - left_outside
        door.set()
        await live.quiet()
        assert memory.spare == before
        await live.submit_all([StartRun(workflow="w")] * BURST)
    assert memory.spare == before, "an engine that ends holds nothing"
    assert await house.value("SELECT count(*) FROM tenant.wf_run") == 2 * BURST


async def test_a_run_need_not_wait_outside_while_many_find_room(house: House) -> None:
    @job("w")
    async def flow(ctx: Context) -> None:
        await anyio.sleep_forever()

    options = Options(slots=NodeSlots(64, NodeMemory(spare=0)))
    async with serving(house, flow, options=options) as live:
        table = live.engine._table  # noqa: SLF001 - it is so for a moment after a burst
        table.outside = True
        assert table.has_room_for_one
        await live.submit_all([StartRun(workflow="w")] * (RESIDENT_RUNS - LOT + 1))
        table.outside = True
        assert not table.has_room_for_one, "others may be more urgent"
        table.outside = False
        assert table.has_room_for_one


async def test_a_run_outside_comes_in_though_there_is_room_for_few_and_nothing_else_happens(
    house: House,
) -> None:
    door = anyio.Event()

    @job("stays")
    async def stays(ctx: Context) -> None:
        await anyio.sleep_forever()

    @job("goes")
    async def goes(ctx: Context) -> None:
        await door.wait()

    options = Options(slots=NodeSlots(BURST, NodeMemory(spare=0)))
    async with serving(house, stays, goes, options=options) as live:
        await live.submit_all([StartRun(workflow="stays")] * (RESIDENT_RUNS - LOT + 1))
        await live.submit_all([StartRun(workflow="goes")] * LOT)
        assert await house.value(OUTSIDE) == 1
        door.set()
        await until(lambda: len(resident(live)) == RESIDENT_RUNS - LOT + 1, what="they have gone")
        assert await house.value(OUTSIDE) == 1

        live.clock.advance(LOOK_FOR_ROOM.total_seconds())
        live.engine.tick()

        await until(lambda: _is_none_outside(house), what="it was fetched")


async def _is_none_outside(house: House) -> bool:
    count: int = await house.value(OUTSIDE)
    return count == 0


async def test_what_a_crash_left_counts_as_crashed_however_late_it_is_taken_up(
    house: House,
) -> None:
    begun: list[int] = []

    @job("w")
    async def flow(ctx: Context) -> None:
        begun.append(ctx.attempt)
        await anyio.sleep_forever()

    many = NodeSlots(BURST)
    async with serving(house, flow, options=Options(slots=many)) as live:
        await live.submit_all([StartRun(workflow="w")] * BURST)
        await until(lambda: len(begun) == BURST)
    slots = NodeSlots(BURST)
    async with serving(house, flow, options=Options(slots=slots, crashed=True)) as live:
        await until(lambda: len(begun) == 2 * BURST)
        assert live.recovered < BURST
        assert await house.value(CRASHES) == BURST
