"""Which case is measured when: rounds, turns, and what a budget allows."""

from __future__ import annotations

from benchmarks.plan import CASES, PEER_CASES, Case
from benchmarks.schedule import LEAST_SECONDS, UNKNOWN_SECONDS, Step, Subject, Timetable, planned
from orchestrator.model.clock import HandClock

OFTEN = Case(name="A", title="often", count=1, quick=(1, 1), seconds=60)
ONCE = Case(name="D20", title="once", count=1, quick=(1, 1), seconds=90, rounds=1)


def subject(name: str, *cases: Case) -> Subject:
    """Return something that is measured."""
    return Subject(name=name, module="benchmarks.none", python="python", cases=cases)


def words(steps: list[Step]) -> list[str]:
    """Return each step in short."""
    return [f"{step.round} {step.case.name} {step.subject.name}" for step in steps]


def test_rounds_are_outermost_and_subjects_take_turns_within_a_case() -> None:
    steps = planned([subject("one", OFTEN, ONCE), subject("two", OFTEN)], 2)

    assert words(steps) == ["1 A one", "1 A two", "1 D20 one", "2 A one", "2 A two"]


def test_without_a_budget_a_step_has_all_the_time_of_its_case() -> None:
    clock = HandClock()
    steps = planned([subject("one", OFTEN)], 1)
    timetable = Timetable(steps, clock=clock.monotonic)

    clock.advance(10_000)

    assert timetable.fits(steps[0])
    assert timetable.limit(steps[0]) == OFTEN.seconds


def test_a_step_has_what_is_left_of_the_budget_and_none_begins_at_its_end() -> None:
    clock = HandClock()
    steps = planned([subject("one", OFTEN)], 1)
    timetable = Timetable(steps, budget=100.0, clock=clock.monotonic)

    assert timetable.limit(steps[0]) == OFTEN.seconds
    clock.advance(70)
    assert timetable.limit(steps[0]) == 30.0
    clock.advance(30 - LEAST_SECONDS)
    assert timetable.fits(steps[0])
    clock.advance(1)
    assert not timetable.fits(steps[0])


def test_another_round_begins_only_when_it_will_end_in_time() -> None:
    clock = HandClock()
    first, second = planned([subject("one", OFTEN)], 2)
    timetable = Timetable([first, second], budget=100.0, clock=clock.monotonic)

    timetable.took(first, 40.0)

    clock.advance(60)
    assert timetable.fits(second)
    clock.advance(1)
    assert not timetable.fits(second)


def test_the_rest_is_told_by_what_it_took_before_and_is_never_more_than_the_budget() -> None:
    clock = HandClock()
    steps = planned([subject("one", OFTEN, ONCE)], 2)
    before = {("one", "A"): 20.0}
    timetable = Timetable(steps, budget=60.0, before=before, clock=clock.monotonic)

    assert timetable.remaining(steps[0]) == 20.0 + UNKNOWN_SECONDS + 20.0
    timetable.took(steps[0], 50.0)
    assert timetable.remaining(steps[1]) == 60.0
    clock.advance(50)
    assert timetable.remaining(steps[1]) == 10.0
    assert timetable.line(steps[1]) == "2/3  round 1  one D20, once  00:50 gone, 00:10 to go"


def test_every_case_ends_by_itself() -> None:
    assert all(0 < case.seconds <= 300 for case in (*CASES, *PEER_CASES))
    assert {case.work for case in CASES} == set("ABCDEFGHIL")
