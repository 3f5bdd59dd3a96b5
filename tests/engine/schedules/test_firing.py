"""Schedules fire: at their times, once, and as their policies say."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from functools import partial

import anyio.lowlevel
import pytest

from orchestrator.engine.schedules import ScheduleVerb
from orchestrator.model.clock import HandClock
from orchestrator.model.errors import ScheduleNotFound, WorkflowNotFound
from orchestrator.settings.duration import Duration
from tests.engine.schedules.bench import NOON, Bench, schedule
from tests.store.submitting import submit
from tests.supervisors.workflows import GATES
from tests.support.wait import until

HOUR, DAY = 3600, 86_400


async def test_a_fire_is_a_run_with_the_fires_name(bench: Bench) -> None:
    bench.declare(schedule(workflow="wait", input={"gate": "g"}, queue="nightly", priority=7))
    GATES.open("g")
    async with bench.engine() as engine:
        assert engine.next_due == NOON + timedelta(hours=1)
        await bench.advance(engine, HOUR)

        assert await bench.fires() == [("13:00", "started")]
        assert await bench.runs() == [("schedule:s:2026-01-01T13:00:00Z", "succeeded")]
        assert engine.next_due == NOON + timedelta(hours=2)
    assert await bench.value("SELECT row(queue, priority, input::text) FROM tenant.wf_run") == (
        *("nightly", 7, '{"gate":"g"}'),
    )
    assert await bench.value("SELECT last_fire_at FROM tenant.wf_schedule") == engine.now
    assert (
        await bench.value(
            "SELECT count(*) FROM tenant.wf_fire f JOIN tenant.wf_run r ON r.id = f.run_id"
        )
        == 1
    )


@pytest.mark.requirement("R10.jitter")
async def test_nothing_fires_before_its_time_and_jitter_moves_the_run_not_its_name(
    bench: Bench,
) -> None:
    bench.declare(schedule(jitter=Duration(minutes=30)))
    async with bench.engine() as engine:
        due = engine.next_due
        assert due is not None
        late = (due - NOON).total_seconds() - HOUR
        assert 0 < late < 30 * 60
        await bench.advance(engine, HOUR + late - 0.001)
        assert await bench.fires() == []
        await bench.advance(engine, 0.001)
        assert await bench.fires() == [("13:00", "started")]


@pytest.mark.parametrize(
    ("start", "cron", "expected"),
    [
        # Spring in Berlin: 02:00 to 03:00 does not exist.
        ("2026-03-28T20:00Z", "30 2 * * *", ["03-29 01:00", "03-30 00:30"]),
        # Autumn: it comes twice.
        ("2026-10-24T20:00Z", "30 2 * * *", ["10-25 00:30", "10-26 01:30"]),
        ("2026-10-24T20:00Z", "*/30 2 * * *", [
            "10-25 00:00", "10-25 00:30", "10-25 01:00", "10-25 01:30",
            "10-26 01:00", "10-26 01:30",
        ]),
    ],
)  # fmt: skip
async def test_when_the_clocks_change_no_fire_is_lost_or_doubled(
    bench: Bench, start: str, cron: str, expected: list[str]
) -> None:
    bench.clock = HandClock(datetime.fromisoformat(start))
    bench.declare(schedule(cron=cron, timezone="Europe/Berlin"))
    async with bench.engine() as engine:
        await bench.advance(engine, 32 * HOUR, step=HOUR / 4)
    assert await bench.fires() == [(each, "started") for each in expected]
    assert [state for _, state in await bench.runs()] == ["succeeded"] * len(expected)


@pytest.mark.parametrize(
    ("given", "fires", "reasons"),
    [
        ({"catch_up": "one"}, [("01-04 12:00", "started")], ["71 earlier were missed"]),
        (
            {"catch_up": "all", "catch_up_limit": 3},
            [(f"01-04 {hour}:00", "started") for hour in (10, 11, 12)],
            ["69 earlier were missed", "", ""],
        ),
        ({"catch_up": "skip"}, [("01-04 12:00", "missed")], ["72 in a row"]),
        (
            {"catch_up": "skip", "grace": Duration(hours=1)},
            [("01-04 12:00", "started")],
            ["71 earlier were missed"],
        ),
    ],
)
@pytest.mark.requirement("R10.catch-up")
async def test_what_a_long_sleep_missed_is_caught_up_as_the_policy_says(
    bench: Bench, given: dict[str, object], fires: list[tuple[str, str]], reasons: list[str]
) -> None:
    bench.declare(schedule(overlap="allow", **given))
    async with bench.engine():
        pass
    bench.clock.advance(3 * DAY + 30 * 60)
    async with bench.engine() as engine:
        await bench.settle(engine)
        assert await bench.fires() == fires
        assert await bench.reasons() == reasons
        assert len(await bench.runs()) == sum(outcome == "started" for _, outcome in fires)
        await bench.settle(engine)
        assert len(await bench.fires()) == len(fires)


@pytest.mark.parametrize(
    ("overlap", "during", "after"),
    [
        ("skip", ["started", "skipped", "skipped"], ["started", "skipped", "skipped"]),
        ("queue", ["started", "held", "skipped"], ["started", "started", "skipped"]),
        ("allow", ["started", "started", "started"], ["started", "started", "started"]),
    ],
)
@pytest.mark.requirement("R10.overlap")
async def test_a_run_longer_than_the_interval_is_treated_as_overlap_says(
    bench: Bench, overlap: str, during: list[str], after: list[str]
) -> None:
    gate = secrets.token_hex(4)
    bench.declare(schedule(workflow="wait", input={"gate": gate}, overlap=overlap))
    async with bench.engine() as engine:
        for hour in range(1, 4):
            bench.clock.advance(HOUR)
            engine.tick()
            await bench.seen(hour)
        assert [outcome for _, outcome in await bench.fires()] == during
        GATES.open(gate)
        await bench.settle(engine)
    assert [outcome for _, outcome in await bench.fires()] == after
    assert len(await bench.runs()) == after.count("started")


async def test_who_takes_over_knows_of_the_earlier_run_and_of_the_fire_that_waits(
    bench: Bench,
) -> None:
    gate = secrets.token_hex(4)
    bench.declare(schedule(workflow="wait", input={"gate": gate}, overlap="queue"))
    async with bench.engine() as engine:
        for hour in range(1, 3):
            bench.clock.advance(HOUR)
            engine.tick()
            await bench.seen(hour)
    async with bench.engine() as engine:
        bench.clock.advance(HOUR)
        engine.tick()
        await bench.seen(3)
        assert await bench.fires() == [
            ("13:00", "started"),
            ("14:00", "held"),
            ("15:00", "skipped"),
        ]
        GATES.open(gate)
        await bench.settle(engine)
    assert await bench.fires() == [("13:00", "started"), ("14:00", "started"), ("15:00", "skipped")]
    assert [state for _, state in await bench.runs()] == ["succeeded", "succeeded"]


async def test_a_fire_that_waited_is_let_go_by_who_finds_the_earlier_run_ended(
    bench: Bench,
) -> None:
    bench.declare(schedule(overlap="queue"))
    async with bench.engine() as engine:
        await bench.advance(engine, HOUR)
    await bench.value("UPDATE tenant.wf_fire SET outcome = 'held', run_id = NULL")
    await bench.value("DELETE FROM tenant.wf_run")
    async with bench.engine() as engine:
        await until(partial(bench.value, "SELECT count(*) FROM tenant.wf_run"))
        await bench.settle(engine)
    assert await bench.fires() == [("13:00", "started")]
    assert [state for _, state in await bench.runs()] == ["succeeded"]


async def test_a_pause_survives_a_restart_and_what_passed_meanwhile_is_not_caught_up(
    bench: Bench,
) -> None:
    bench.declare(schedule(catch_up="all"))
    async with bench.engine() as engine:
        await bench.ask(engine, "s", ScheduleVerb.PAUSE)
        await bench.ask(engine, "s", ScheduleVerb.PAUSE)
        assert engine.next_due is None
        await bench.advance(engine, 2 * HOUR)
    async with bench.engine() as engine:
        assert engine.next_due is None
        await bench.advance(engine, 2.5 * HOUR)
        await bench.ask(engine, "s", ScheduleVerb.RESUME)
        await bench.advance(engine, HOUR)
        assert await bench.fires() == [("17:00", "started")]
    async with bench.engine() as engine:
        await bench.advance(engine, HOUR)
    assert await bench.fires() == [("17:00", "started"), ("18:00", "started")]


async def test_fired_by_hand_it_runs_at_once_and_the_next_fire_stays(bench: Bench) -> None:
    bench.declare(schedule())
    async with bench.engine() as engine:
        await bench.ask(engine, "s", ScheduleVerb.PAUSE)
        first = await bench.ask(engine, "s", ScheduleVerb.FIRE)
        second = await bench.ask(engine, "s", ScheduleVerb.FIRE)
        await bench.ask(engine, "s", ScheduleVerb.RESUME)
        assert first[0].id != second[0].id
        await bench.settle(engine)
        assert await bench.reasons() == ["by hand", "by hand"]
        await bench.advance(engine, HOUR)
    assert [outcome for _, outcome in await bench.fires()] == ["started"] * 3


async def test_an_unknown_schedule_is_not_found(bench: Bench) -> None:
    async with bench.engine() as engine:
        with pytest.raises(ScheduleNotFound, match="no schedule 'nightly'"):
            await bench.ask(engine, "nightly", ScheduleVerb.FIRE)


@pytest.mark.requirement("R10.one-off")
async def test_one_moment_fires_once(bench: Bench) -> None:
    bench.declare(schedule(at=NOON + timedelta(minutes=5)))
    async with bench.engine() as engine:
        await bench.advance(engine, HOUR, step=60)
        assert engine.next_due is None
    async with bench.engine() as engine:
        await bench.advance(engine, HOUR)
    assert await bench.fires() == [("12:05", "started")]


async def test_a_fire_whose_run_is_refused_says_why_and_the_next_one_is_tried(bench: Bench) -> None:
    bench.declare(schedule(workflow="unheard_of"), schedule(name="big"), max_payload_bytes=1)
    async with bench.engine() as engine:
        await bench.advance(engine, HOUR)
        assert await bench.fires() == [("13:00", "refused")]
        assert "no workflow 'unheard_of' is served" in (await bench.reasons())[0]
        assert "may send 1" in (await bench.reasons("big"))[0]
        bench.declare(schedule(workflow="note"))
        engine.reconfigured()
        await bench.advance(engine, HOUR)
        bench.declare(schedule(workflow="unheard_of"))
        engine.reconfigured()
        with pytest.raises(WorkflowNotFound):
            await bench.ask(engine, "s", ScheduleVerb.FIRE)
    assert await bench.fires() == [("13:00", "refused"), ("14:00", "started")]


async def test_a_run_with_the_key_of_a_fire_is_its_run(bench: Bench) -> None:
    run = await bench.value(
        "INSERT INTO tenant.wf_run (id, workflow, version, state, queue, priority, epoch, key,"
        " input, finished_at) VALUES (gen_random_uuid(), 'note', '1', 'succeeded', 'default', 0, 0,"
        " 'schedule:s:2026-01-01T13:00:00Z', '{}', now()) RETURNING id"
    )
    bench.declare(schedule())
    async with bench.engine() as engine:
        await bench.advance(engine, HOUR)
        assert await bench.value("SELECT run_id FROM tenant.wf_fire") == run
        await bench.advance(engine, HOUR)
    assert await bench.fires() == [("13:00", "started"), ("14:00", "started")]
    assert len(await bench.runs()) == 2


@pytest.mark.slow
async def test_a_fire_whose_key_an_open_transaction_holds_says_so_and_the_next_one_is_tried(
    bench: Bench,
) -> None:
    bench.declare(schedule())
    application = await bench.database.connect()
    async with bench.engine() as engine:
        async with application.transaction():
            key = "schedule:s:2026-01-01T13:00:00Z"
            await submit(application, "acme", "note", key=key)
            await bench.advance(engine, HOUR)
            assert f"holds the key '{key}' of workflow 'note'" in (await bench.reasons())[0]
        await bench.advance(engine, HOUR)
    assert await bench.fires() == [("13:00", "refused"), ("14:00", "started")]


async def test_a_removed_schedule_stops_and_one_that_comes_back_begins_anew(bench: Bench) -> None:
    bench.declare(schedule(catch_up="all"), schedule(name="other"))
    async with bench.engine() as engine:
        await bench.advance(engine, HOUR)
        bench.declare(schedule(name="other"))
        engine.reconfigured()
        await bench.advance(engine, 3 * HOUR, step=HOUR)
        assert await bench.fires() == [("13:00", "started")]
        assert await bench.value("SELECT array_agg(name) FROM tenant.wf_schedule") == ["other"]
        bench.declare(schedule(catch_up="all"), schedule(name="other"))
        engine.reconfigured()
        await bench.advance(engine, HOUR)
        assert await bench.fires() == [("13:00", "started"), ("17:00", "started")]
    assert len(await bench.fires("other")) == 5


async def test_other_times_do_not_fire_for_the_past_and_another_input_changes_nothing_else(
    bench: Bench,
) -> None:
    bench.declare(schedule(catch_up="all"))
    async with bench.engine() as engine:
        bench.clock.advance(30 * 60)
        bench.declare(schedule(catch_up="all", cron="*/20 * * * *"))
        engine.reconfigured()
        await bench.settle(engine)
        assert await bench.fires() == []
        await bench.advance(engine, 11 * 60)
        bench.declare(schedule(catch_up="all", cron="*/20 * * * *", priority=3))
        engine.reconfigured()
        await bench.advance(engine, 20 * 60)
    assert await bench.fires() == [("12:40", "started"), ("13:00", "started")]
    assert await bench.value("SELECT max(priority) FROM tenant.wf_run") == 3


async def test_what_is_declared_while_the_tables_are_read_does_not_fire_as_it_was_before(
    bench: Bench,
) -> None:
    bench.declare(schedule())
    async with bench.engine() as engine:
        for priority in (1, 3):
            bench.declare(schedule(priority=priority))
            engine.reconfigured()
            for _ in range(3):
                await anyio.lowlevel.checkpoint()  # the tables are asked
        await bench.advance(engine, HOUR)
    assert await bench.fires() == [("13:00", "started")]
    assert await bench.value("SELECT max(priority) FROM tenant.wf_run") == 3


async def test_a_removed_schedule_takes_the_fire_with_it_that_waited(bench: Bench) -> None:
    gate = secrets.token_hex(4)
    bench.declare(schedule(workflow="wait", input={"gate": gate}, overlap="queue"))
    async with bench.engine() as engine:
        for hour in range(1, 3):
            bench.clock.advance(HOUR)
            engine.tick()
            await bench.seen(hour)
        bench.declare()
        engine.reconfigured()
        GATES.open(gate)
        await bench.settle(engine)
    assert await bench.fires() == [("13:00", "started"), ("14:00", "skipped")]
    assert (await bench.reasons())[1] == "the schedule was removed"


async def test_a_hundred_schedules_due_at_once_all_fire(bench: Bench) -> None:
    names = [f"s{number}" for number in range(100)]
    bench.declare(*(schedule(name=name) for name in names))
    async with bench.engine() as engine:
        await bench.advance(engine, HOUR)
    assert await bench.value("SELECT count(*) FROM tenant.wf_fire WHERE outcome = 'started'") == 100
    assert {state for _, state in await bench.runs()} == {"succeeded"}
