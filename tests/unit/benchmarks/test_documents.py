"""What a run of the benchmarks says of itself: medians, targets, the baseline, the page."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from benchmarks import compare, report
from benchmarks.document import INSULA, LEFT_OUT, Document, Measured, machine, summaries
from benchmarks.plan import CASES, chosen
from benchmarks.protocol import percentiles
from benchmarks.table import number
from benchmarks.targets import TARGETS, verdicts

LIMIT = "journal_steps_per_s_1000_in_flight"


def measured(case: str, name: str, value: float, *, of: str = INSULA, turn: int = 1) -> Measured:
    """Return what one process measured."""
    return Measured(subject=of, case=case, round=turn, figures={name: value})


def document(*results: Measured, quick: bool = False) -> Document:
    """Return a run of the benchmarks."""
    server = {"version": "18", "settings": {}, "fdatasync_us": 50.0, "file_system": "ext4"}
    return Document(
        date="2026-01-01T00:00:00+00:00",
        commit="abc",
        quick=quick,
        rounds=3,
        machine=machine(),
        postgresql=server,
        versions={"insula": "1"},
        results=summaries(results),
    )


def whole(*more: Measured) -> Document:
    """Return a run that a page can be made from."""
    return document(
        measured("A", "runs_per_s", 5_000.0),
        measured("B", "steps_per_s", 12_000.0),
        measured("L", LIMIT, 40_000.0),
        *more,
    )


def test_a_summary_has_the_median_of_the_rounds_and_their_ends() -> None:
    rounds = [measured("A", "runs_per_s", rate, turn=n) for n, rate in enumerate((3.0, 9.0, 4.0))]
    failed = Measured(subject="dbos", case="A", round=1, error="took longer than 60 s")

    ours, theirs = summaries([*rounds, failed])

    assert (ours.least, ours.median, ours.most) == (
        {"runs_per_s": 3.0},
        {"runs_per_s": 4.0},
        {"runs_per_s": 9.0},
    )
    assert (theirs.rounds, theirs.errors) == (0, ["took longer than 60 s"])


def test_a_target_is_met_missed_or_was_not_measured() -> None:
    found = {v.target: v for v in verdicts(whole(measured("C", "p50_ms", 4.0)))}

    assert len(found) == len(TARGETS)
    assert found["A: runs/s, submitted and run together"].met is True
    assert found["B: of the bare journal, 1,000 in flight"].found == pytest.approx(0.3)
    assert found["C: p50, ms"].met is False
    assert found["A: times dbos"].met is None


def test_a_change_is_told_without_the_difference_of_the_machines() -> None:
    faster = document(
        measured("A", "runs_per_s", 20_000.0),
        measured("C", "p50_ms", 1.0),
        measured("L", LIMIT, 80_000.0),
    )
    before = document(
        measured("A", "runs_per_s", 5_000.0),
        measured("C", "p50_ms", 4.0),
        measured("L", LIMIT, 40_000.0),
    )

    assert compare.changes(faster, before) == {"A runs_per_s": 2.0, "C p50_ms": 2.0}


def test_the_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    history, baseline = tmp_path / "new" / "history.jsonl", tmp_path / "baseline.json"
    first, second = whole(), document(measured("A", "runs_per_s", 1.0), quick=True)

    compare.remember(first, history)
    compare.remember(second, history)
    compare.write_baseline(first, baseline)

    assert compare.history(history) == [first, second]
    assert compare.read_baseline(baseline) == first
    assert compare.history(tmp_path / "none") == []


def test_what_a_killed_run_has_measured_is_found_by_the_next(tmp_path: Path) -> None:
    under_way, history = tmp_path / "new" / "under_way.json", tmp_path / "history.jsonl"
    first = msgspec.structs.replace(whole(), whole=False)

    compare.keep(document(), under_way)
    compare.keep(first, under_way)
    compare.recover(under_way, history)
    compare.recover(under_way, history)

    assert compare.history(history) == [first]


def test_how_long_a_case_took_is_known_from_the_newest_whole_sizes() -> None:
    def took(seconds: float, *, quick: bool = False) -> Document:
        slow = msgspec.structs.replace(measured("A", "runs_per_s", 1.0), seconds=seconds)
        return document(slow, quick=quick)

    assert compare.seconds([took(9.0), took(8.0), took(1.0, quick=True)]) == {("insula", "A"): 8.0}


def test_the_page_is_made_of_the_newest_whole_runs() -> None:
    quick = msgspec.structs.replace(whole(), quick=True)
    beside = whole(measured("A", "runs_per_s", 100.0, of="dbos"))
    runs = [whole(), beside, quick, document(measured("A", "runs_per_s", 1.0))]

    assert report.newest(runs, peers=False) == runs[0]
    assert report.newest(runs, peers=True) == beside
    assert report.newest([quick], peers=False) is None


def test_the_page_keeps_what_people_wrote_around_the_figures() -> None:
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    beside = whole(measured("A", "runs_per_s", 100.0, of="dbos"))
    beside = msgspec.structs.replace(beside, targets=verdicts(beside), missing={"x": "no Rust"})

    written = report.rewritten(page, whole(), beside)

    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert "\nold\n" not in written
    assert "50.0 times as many as dbos" in written
    assert "x could not be installed" in written
    assert "| A: times dbos | 40 | 50 | 1.25 | yes |" in written
    assert report.rewritten(written, whole(), beside) == written
    with pytest.raises(report.NothingMeasured):
        report.rewritten(page, None, None)


def test_the_page_tells_what_failed_beside_the_peers_and_what_came_to_no_end() -> None:
    late = {"kill_to_last_resumed_s": 90.0, "still_waiting": 3.0}
    beside = whole(
        measured("A", "runs_per_s", 100.0, of="oban"),
        Measured(subject="oban", case="E50", round=1, figures=late),
        Measured(subject="oban", case="D20", round=1, error=LEFT_OUT),
        *(
            Measured(subject=each, case="D100", round=1, error="60 of 100 had come up")
            for each in ("insula", "oban")
        ),
    )

    written = report.rewritten(f"{report.BEGIN}{report.END}", None, beside)

    assert "| A both together, runs/s | 5,000 | 100 |" in written
    assert "until all are started again, s | - | > 90 |" in written
    assert "| D 20 tenants, runs/s | - | left out |" in written
    assert "| D 100 tenants, runs/s | failed | failed |" in written
    assert "insula D100, oban D100: 60 of 100 had come up" in written


def test_a_run_that_was_broken_off_says_so_on_the_page() -> None:
    broken = msgspec.structs.replace(whole(), whole=False, seconds=120.0)

    written = report.rewritten(f"{report.BEGIN}{report.END}", broken, None)

    assert report.newest([broken], peers=False) == broken
    assert "1 of A B L. It took 2 minutes" in written
    assert "It was broken off" in written


def test_the_page_of_the_repository_has_a_place_for_the_figures() -> None:
    page = report.PAGE.read_text(encoding="utf-8")

    assert page.count(report.BEGIN) == page.count(report.END) == 1


def test_cases_are_chosen_by_letter_or_name() -> None:
    assert chosen("") == list(CASES)
    assert [case.name for case in chosen("B, D100,G")] == ["B", "D100", "G10k", "G1M"]
    with pytest.raises(ValueError, match="there is no case Z"):
        chosen("A,Z")


def test_figures_have_the_digits_that_they_are_good_for() -> None:
    assert [number(value) for value in (12345.6, 3.14159, 0.00512)] == ["12,346", "3.14", "0.00512"]
    assert percentiles([0.001] * 99 + [0.1])["p50_ms"] == pytest.approx(1.0)
