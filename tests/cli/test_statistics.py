"""`insula tenant stats`."""

from __future__ import annotations

from tests.cli.conftest import Insula


def test_a_tenant_is_shown_in_figures(insula: Insula) -> None:
    done = insula("tenant", "stats", "acme-corp")
    figures, tables, errors = done.out.splitlines()[:6], *_columns(done.out)

    assert figures == [
        "tenant       acme_corp",
        "runs         failed 1, succeeded 2",
        "last hour    accepted 3, succeeded 2, failed 1, p50 20 ms, p95 1 min 15 s",
        "last day     accepted 0, succeeded 0, failed 0",
        "connections  2",
        "on disk      460.0 KiB",
    ]
    assert tables == ["flight", "8.0", "KiB", "40"]
    assert errors[:3] == ["report", "ValueError", "1"]
    assert done.err == "locked, or not read in time: rows of boarding\n"


def test_rows_are_counted_when_that_is_asked_for(insula: Insula) -> None:
    done = insula("tenant", "stats", "acme_corp", "--exact", "--json")

    assert done.json["tables"][0]["rows"] == 42


def _columns(out: str) -> tuple[list[str], list[str]]:
    """Return the cells of the only table, and of the only error, that are told."""
    lines = out.splitlines()
    return lines[7].split(), lines[9].split()
