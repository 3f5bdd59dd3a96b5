"""`insula schedule`."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Insula


def test_schedules_are_listed_for_people_and_for_programs(insula: Insula) -> None:
    shown, document = (
        insula("schedule", "list", "acme_corp"),
        insula("schedule", "list", "acme_corp", "--json"),
    )

    heading, row = shown.out.splitlines()
    assert heading.split() == ["schedule", "workflow", "when", "paused", "next", "last", "outcome"]
    assert row.split()[:8] == [
        *("nightly", "quick"), *("0", "3", "*", "*", "*"), "Europe/Berlin",
    ]  # fmt: skip
    assert document.json["schedules"][0]["next_fire_at"] == "2026-01-02T03:00:00Z"


def test_a_schedule_is_fired_paused_and_resumed(insula: Insula) -> None:
    fired = insula("schedule", "fire", "acme_corp", "nightly")
    paused = insula("schedule", "pause", "acme_corp", "nightly")
    resumed = insula("schedule", "resume", "acme_corp", "nightly", "--json")

    assert (fired.code, len(fired.out.strip())) == (0, 36)
    assert paused.err == "nightly is paused\n"
    assert resumed.json["last_fire"]["run"] == fired.out.strip()
    assert "started: by hand" in insula("schedule", "list", "acme_corp").out


@pytest.mark.parametrize("verb", ["pause", "resume", "fire"])
def test_an_unknown_schedule_is_not_found(insula: Insula, verb: str) -> None:
    done = insula("schedule", verb, "acme_corp", "weekly")

    assert done.code == 3
    assert done.err == "error[schedule_not_found]: no schedule 'weekly'\nhint: declared: nightly\n"


def test_a_tenant_without_schedules_is_told_where_they_come_from(insula: Insula) -> None:
    insula("tenant", "create", "globex")

    done = insula("schedule", "list", "globex")

    assert (done.code, done.out) == (0, "")
    assert "declare them" in done.err
