"""`insula usage`."""

from __future__ import annotations

import csv
import io

from tests.cli.conftest import Insula

JANUARY = ("--from", "2026-01-01", "--to", "2026-02-01")


def test_usage_is_a_csv_that_a_spreadsheet_reads(insula: Insula) -> None:
    done = insula("usage", *JANUARY, "--format", "csv", "--by", "hour")

    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert done.out.splitlines()[0].startswith("tenant,span,starts_at,submitted,input_bytes")
    assert [(row["tenant"], row["starts_at"], row["span"], row["gone"]) for row in rows] == [
        ("acme_corp", "2026-01-30T00:00:00Z", "hour", "true"),
        ("acme_corp", "2026-01-31T00:00:00Z", "hour", "false"),
    ]
    assert rows[0]["registration"] != rows[1]["registration"]


def test_a_former_tenant_is_told_from_the_one_that_has_its_id_now(insula: Insula) -> None:
    lines = insula("usage", *JANUARY).out.splitlines()

    assert lines[1].startswith("acme_corp (deleted, 3f0c9a1b)")
    assert lines[2].split()[:2] == ["acme_corp", "2026-01-31"]


def test_one_tenant_is_shown_with_the_limits_that_are_nearly_used(insula: Insula) -> None:
    done = insula("usage", "--tenant", "acme_corp", *JANUARY)

    lines = [line.split() for line in done.out.splitlines()]
    assert lines[1] == ["acme_corp", "2026-01-30", "3", "1", "2", "5", "1200"]
    assert lines[3][:3] == ["max_runs_per_day", "8", "10"]
    assert "may be missing" in done.err


def test_usage_is_json_for_programs(insula: Insula) -> None:
    for asked in (("--json",), ("--format", "json")):
        assert len(insula("usage", *JANUARY, *asked).json["rows"]) == 2
    shown = insula("usage", "--tenant", "acme_corp", *JANUARY, "--json").json
    assert shown["rows"][0]["task_ms"] == 1200


def test_a_time_that_is_none_is_refused(insula: Insula) -> None:
    done = insula("usage", "--from", "yesterday")

    assert done.code == 2
    assert "neither a time like 2026-01-31" in done.err


def test_no_usage_is_not_an_empty_table(insula: Insula) -> None:
    done = insula("usage", "--from", "2020-01-01", "--to", "2020-02-01")

    assert (done.out, done.code) == ("", 0)
    assert done.err.startswith("no usage in that time; tenants that work tell once a minute")


def test_a_beginning_in_the_future_is_named(insula: Insula) -> None:
    assert "`from` is in the future" in insula("usage", "--from", "9000-01-01").err


def test_a_word_that_is_no_choice_is_answered_in_our_words(insula: Insula) -> None:
    done = insula("usage", "--by", "week")

    assert done.err.startswith(
        "error[usage]: Invalid value for '--by': 'week' is not one of 'hour', 'day'.\n"
    )
