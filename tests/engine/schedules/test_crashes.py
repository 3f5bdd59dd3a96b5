"""Whoever dies at whatever moment: each fire has one run or one reason, and none is lost."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
import structlog

from orchestrator.engine.engine import Engine
from orchestrator.model.errors import DatabaseUnavailable, LeaseLost
from tests.engine.schedules.bench import Bench, Fate, Killed, schedule

HOUR = 3600


async def live(bench: Bench, engine: Engine, until_hour: int) -> None:
    """Let time pass until so many hours after noon."""
    await bench.settle(engine)
    while (left := until_hour * HOUR - bench.clock.monotonic() % (24 * HOUR)) > 0:
        await bench.advance(engine, min(left, HOUR))


def fates(*, after: bool, lost: bool = False) -> Iterator[Fate]:
    """Yield a fate for each statement, one after the other."""
    # A connection that is lost while it is opened is the supervisor's business.
    yield from (Fate(at=number, after=after, lost=lost) for number in count(1 if lost else 0))


@pytest.mark.slow
@pytest.mark.parametrize("overlap", ["allow", "queue"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.requirement("R10.once")
async def test_killed_at_any_statement_no_fire_is_lost_or_doubled(
    bench: Bench, overlap: str, after: bool
) -> None:
    for day, fate in enumerate(fates(after=after), start=1):
        bench.declare(schedule(catch_up="all", overlap=overlap))
        try:
            async with bench.engine(fate) as engine:
                await live(bench, engine, 3)
        except* Killed:
            pass
        if not fate.struck:
            assert fate.at > 10
            return
        async with bench.engine() as engine:
            await live(bench, engine, 4)
        assert [outcome for _, outcome in await bench.fires()] == ["started"] * 4, fate
        assert [state for _, state in await bench.runs()] == ["succeeded"] * 4, fate
        assert await bench.value(MATCHING) == 4, fate
        await bench.forget()
        bench.clock.advance(day * 24 * HOUR - bench.clock.monotonic())
        bench.declare()


@pytest.mark.slow
async def test_a_commit_of_which_nobody_heard_is_repeated_and_changes_nothing(
    bench: Bench,
) -> None:
    for day, fate in enumerate(fates(after=True, lost=True), start=1):
        bench.declare(schedule(catch_up="all", overlap="queue"))
        try:
            async with bench.engine(fate) as engine:
                await live(bench, engine, 3)
        except* DatabaseUnavailable:
            # It does not know which runs it claimed: only the next owner can.
            async with bench.engine() as engine:
                await live(bench, engine, 3)
        assert [outcome for _, outcome in await bench.fires()] == ["started"] * 3, fate
        assert [state for _, state in await bench.runs()] == ["succeeded"] * 3, fate
        assert await bench.value(MATCHING) == 3, fate
        if not fate.struck:
            assert fate.at > 10
            return
        await bench.forget()
        bench.clock.advance(day * 24 * HOUR - bench.clock.monotonic())
        bench.declare()


async def test_a_former_owner_fires_nothing(bench: Bench) -> None:
    bench.declare(schedule())
    with pytest.RaisesGroup(LeaseLost, allow_unwrapped=True, flatten_subgroups=True):
        async with bench.engine() as zombie, bench.engine() as owner:
            bench.clock.advance(HOUR)
            zombie.tick()
            await zombie.changed.wait()
            await bench.settle(owner)
    assert await bench.fires() == [("13:00", "started")]
    assert len(await bench.runs()) == 1
    assert await bench.value("SELECT max(epoch) FROM tenant.wf_event") == 2


async def test_a_fire_that_is_dealt_with_starts_no_second_run(bench: Bench) -> None:
    bench.declare(schedule())
    with structlog.testing.capture_logs() as logs:
        async with bench.engine() as engine:
            await bench.value(
                "INSERT INTO tenant.wf_fire (schedule, fire_at, outcome)"
                " VALUES ('s', '2026-01-01T13:00Z', 'skipped')"
            )
            await bench.advance(engine, HOUR)
            await bench.advance(engine, HOUR)
    assert await bench.fires() == [("13:00", "skipped"), ("14:00", "started")]
    assert len(await bench.runs()) == 1
    assert "fire.refused" in [each["event"] for each in logs]


MATCHING = "SELECT count(*) FROM tenant.wf_fire AS f JOIN tenant.wf_run AS r ON r.id = f.run_id"
