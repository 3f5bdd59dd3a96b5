"""`insula tenant stats`."""

from __future__ import annotations

from tests.cli.conftest import Insula
from tests.http.platform import HandMadePlatform
from tests.support.figures import kept_figures


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


def test_all_tenants_are_listed_in_figures_with_their_age(
    insula: Insula, platform: HandMadePlatform
) -> None:
    platform.add("globex")
    platform.statistics.kept.append(kept_figures("globex", runs=7, schema_bytes=471_040))

    done = insula("tenant", "list", "--stats", "--sort", "size")
    first, second = done.out.splitlines()[1:]

    assert " ".join(first.split()) == "globex dormant 7 460.0 KiB 3 min 0 s ago"
    assert " ".join(second.split()) == "acme_corp dormant never used"
    assert done.err.startswith("2 tenants, 1 of them read: runs 7, failed 0, last day 0")


def test_a_tenant_that_is_archived_is_not_said_never_to_have_been_used(
    insula: Insula, platform: HandMadePlatform
) -> None:
    platform.add("globex", state="archived")

    line = insula("tenant", "list", "--stats").out.splitlines()[-1]

    assert " ".join(line.split()) == "globex archived archived"


def test_one_tenant_is_told_as_one(insula: Insula) -> None:
    assert insula("tenant", "list", "--stats").err.startswith("1 tenant, 0 of them read: ")


def test_the_list_in_figures_is_one_document(insula: Insula, platform: HandMadePlatform) -> None:
    platform.statistics.kept.append(kept_figures("acme_corp", used=True, runs=7))

    found = insula("tenant", "list", "--stats", "--limit", "1", "--json").json

    assert (found["tenants"][0]["runs"], found["totals"]["read"]) == (7, 1)


def test_the_plain_list_is_in_no_other_order(insula: Insula) -> None:
    done = insula("tenant", "list", "--sort", "runs")

    assert (done.code, "add --stats" in done.err) == (2, True)


def _columns(out: str) -> tuple[list[str], list[str]]:
    """Return the cells of the only table, and of the only error, that are told."""
    lines = out.splitlines()
    return lines[7].split(), lines[9].split()
