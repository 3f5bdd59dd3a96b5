"""All tenants in figures: ordered, cut and summed up, without a database."""

from __future__ import annotations

import pytest

from orchestrator.daemon.figures import LOOK_SECONDS, SHARE, pause_after
from orchestrator.daemon.overview import overview
from orchestrator.model.api import TenantSummary
from orchestrator.model.figures import FiguresOrder, InstallationFigures
from tests.support.figures import NEVER_READ, READ_AT, kept_figures

LARGE = kept_figures(
    "large",
    last_active_at=READ_AT,
    runs=9,
    failed=1,
    day_accepted=4,
    day_succeeded=3,
    day_failed=0,
    day_p95=0.5,
    schema_bytes=9000,
    tables=3,
    estimated_rows=7,
)
FAULTY = kept_figures(
    "faulty", runs=5, failed=3, day_accepted=5, day_succeeded=2, day_failed=3, day_p95=2.0
)
KEPT = [LARGE, FAULTY, NEVER_READ]


def figures(order: FiguresOrder = FiguresOrder.ID, limit: int | None = None) -> InstallationFigures:
    """Return four tenants in figures, two of them read."""
    summaries = [
        TenantSummary(id=id, name=id, tier=None, source="file", enabled=True, state="dormant")
        for id in ("acme_corp", "faulty", "large", "undeclared")
    ]
    return overview(summaries, KEPT, order=order, limit=limit)


@pytest.mark.parametrize(
    ("order", "first"),
    [
        ("id", ["acme_corp", "faulty"]),
        ("runs", ["large", "faulty"]),
        ("day", ["faulty", "large"]),
        ("errors", ["faulty", "large"]),
        ("time", ["faulty", "large"]),
        ("size", ["large", "acme_corp"]),
        ("rows", ["large", "acme_corp"]),
        ("last-activity", ["large", "acme_corp"]),
    ],
)
def test_the_largest_comes_first_and_who_was_never_read_last(order: str, first: list[str]) -> None:
    found = figures(FiguresOrder(order), limit=2)

    assert [each.tenant for each in found.tenants] == first
    assert (found.totals.tenants, found.totals.read) == (4, 2)


def test_sums_are_over_what_is_known() -> None:
    totals = figures(limit=1).totals

    assert (totals.runs, totals.failed, totals.day_accepted, totals.day_failed) == (14, 4, 9, 3)
    assert (totals.schema_bytes, totals.tables, totals.estimated_rows) == (9000, 3, 7)
    assert totals.oldest_read_at == READ_AT


def test_who_was_never_read_says_so() -> None:
    never, _, _, unknown = figures().tenants

    assert (never.used, never.read_at, never.runs) == (True, None, None)
    assert (unknown.used, unknown.read_at) == (False, None)


def test_who_has_been_quiet_for_a_day_has_accepted_nothing_in_it() -> None:
    quiet = kept_figures("acme_corp", quiet=True, day_accepted=4, day_succeeded=4, day_failed=0)
    summary = TenantSummary(
        id="acme_corp", name="", tier=None, source="file", enabled=True, state="dormant"
    )

    (found,) = overview([summary], [quiet], order=FiguresOrder.ID, limit=None).tenants

    assert found.day is not None
    assert (found.day.accepted, found.day.p50) == (0, None)


def test_reading_takes_a_small_share_of_the_time() -> None:
    for seconds in (0.0, 0.2, 7.0, 500.0):
        assert seconds / (seconds + pause_after(seconds)) <= SHARE
        assert pause_after(seconds) >= LOOK_SECONDS
