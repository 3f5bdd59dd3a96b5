"""The benchmark of many tenants divides its time, and its page tells what was measured."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from benchmarks import life_table
from benchmarks.life import LifeDocument, Phase, Shares, tenths
from benchmarks.page import replaced


def phase(verb: str, *, tenants: int = 1000, of: int = 1000) -> Phase:
    """Return what one verb has cost."""
    figures = [name for name in Phase.__struct_fields__ if name not in {"verb", "tenants", "of"}]
    return Phase(verb=verb, tenants=tenants, of=of, **dict.fromkeys(figures, 7.0))


def document(*phases: Phase) -> LifeDocument:
    """Return a whole run of the benchmark."""
    machine = {"processor": "?", "cores": 2, "memory_gib": 4, "kernel": "6", "python": "3.11"}
    return LifeDocument(
        date="2026-01-01T00:00:00+00:00",
        commit="abc",
        machine={**machine, "load_before": 0.1},
        postgresql={"version": "18", "settings": {}, "fdatasync_us": 50.0, "file_system": "ext4"},
        versions={"insula": "1"},
        tenants=1000,
        phases=list(phases),
        left={"schemas": 0, "roles": 2},
        whole=True,
    )


def test_a_verb_may_take_its_share_of_the_time_that_is_left() -> None:
    shares, began = Shares(100.0, {"provision": 1.0, "backup": 3.0}), time.monotonic()

    first, second = shares.until("provision") - began, shares.until("backup") - began

    assert first == pytest.approx(25.0, abs=5.0)
    assert second == pytest.approx(100.0, abs=5.0)


def test_when_the_time_is_over_nobody_has_any() -> None:
    shares = Shares(-1.0, {"delete": 1.0})

    assert shares.until("delete") == pytest.approx(time.monotonic(), abs=5.0)


def test_a_tenth_is_two_at_least() -> None:
    assert tenths(range(100)) == (range(10), range(90, 100))
    assert tenths(range(5)) == (range(2), range(3, 5))
    assert tenths(range(1)) == (range(1), range(1))


def test_the_page_has_a_row_for_each_verb_and_what_was_not_done_to_all() -> None:
    found = document(phase("provision"), phase("backup", tenants=700))

    page = replaced(
        f"a\n{life_table.BEGIN}\nold\n{life_table.END}\nz",
        life_table.BEGIN,
        life_table.END,
        life_table.section(found),
    )

    assert page.startswith("a\n")
    assert page.endswith("\nz")
    assert "old" not in page
    assert "| provision | 1,000 | 7 |" in page
    assert "| backup | 700 of 1,000 | 7 |" in page
    assert "is met: 7 ms" in page
    assert "0 schemas, 2 roles" in page


def test_the_newest_run_is_kept_for_the_page(tmp_path: Path) -> None:
    kept, run = tmp_path / "new" / "tenants.jsonl", document(phase("provision"))

    life_table.remember(msgspec.structs.replace(run, commit="before"), kept)
    life_table.remember(run, kept)

    assert life_table.newest(kept) == run
    assert life_table.newest(tmp_path / "none") is None
