"""Schedules in the files: what is wrong with them, and what a tenant gets of its tier's."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.model.api import CreateTenant
from orchestrator.model.errors import ConfigError, InvalidRequest
from orchestrator.model.ids import TenantId
from orchestrator.settings.diff import diff
from orchestrator.settings.duration import Duration
from orchestrator.settings.load import load
from orchestrator.settings.tenants import TenantConfig, declare, dump_declaration, load_declaration

HOURLY = 'name = "x"\nworkflow = "w"\nevery = "1h"\n'


def acme(directory: Path, text: str) -> TenantConfig:
    """Return tenant acme of a file."""
    path = directory / "insula.toml"
    path.write_text(text)
    return load(path, {}).tenants[TenantId("acme")]


def problems_of(directory: Path, text: str) -> list[str]:
    """Return what is wrong with a file, without its name."""
    with pytest.raises(ConfigError) as caught:
        acme(directory, text)
    return [each.partition("insula.toml:")[2] for each in caught.value.problems]


def test_a_schedule_says_everything_the_engine_needs(tmp_path: Path) -> None:
    (found,) = acme(
        tmp_path,
        """
        [[tenants.acme.schedules]]
        name = "nightly"
        workflow = "report"
        cron = "0 3 * * *"
        timezone = "Europe/Berlin"
        jitter = "10m"
        overlap = "queue"
        input = { month = 1 }
        queue = "slow"
        priority = 5
        """,
    ).schedules

    assert (found.name, found.queue, found.priority, found.since) == ("nightly", "slow", 5, None)
    assert found.timing.id == "acme/nightly"
    assert found.timing.jitter == Duration(minutes=10)
    assert found.spec == {
        "workflow": "report",
        "cron": "0 3 * * *",
        "timezone": "Europe/Berlin",
        "jitter": "10m",
        "overlap": "queue",
        "catch_up": "one",
        "catch_up_limit": 100,
        "grace": "1m",
        "input": {"month": 1},
        "queue": "slow",
        "priority": 5,
    }


def test_a_tenant_has_its_tiers_schedules_but_those_it_declares_itself(tmp_path: Path) -> None:
    config = acme(
        tmp_path,
        """
        [[tiers.gold.schedules]]
        name = "a"
        workflow = "w"
        every = "1h"
        [[tiers.gold.schedules]]
        name = "b"
        workflow = "w"
        every = "1h"
        [tenants.acme]
        tier = "gold"
        [[tenants.acme.schedules]]
        name = "b"
        workflow = "other"
        at = 2026-01-31T09:00:00+01:00
        """,
    )

    a, b = config.schedules
    assert (a.timing.workflow, b.timing.workflow) == ("w", "other")
    assert b.timing.at == datetime(2026, 1, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["2: S: needs a name", "2: S: needs a workflow"]),
        (
            'name = "x"\nworkflow = "w"',
            ["2: S: give exactly one of cron, every and at, not none of them"],
        ),
        (HOURLY + 'cron = "0 3 * * *"', [
            "2: S: give exactly one of cron, every and at, not cron and every",
        ]),
        (HOURLY + 'timezone = "Mars/Base"', [
            "6: S.timezone: timezone goes with cron only",
            "6: S.timezone: timezone 'Mars/Base' is not an IANA time zone",
        ]),
        ('name = "x"\nworkflow = "w"\ncron = "61 * * * *"', [
            "5: S.cron: cron '61 * * * *' has a bad minute",
        ]),
        ('name = "x"\nworkflow = "w"\ncron = "0 0 30 2 *"', [
            "5: S.cron: cron '0 0 30 2 *' has a bad day-of-month",
        ]),
        (HOURLY + 'overlap = "wait"\ncatch_up = 3', [
            '6: S.overlap: must be one of "allow", "skip", "queue", not \'wait\'',
            '7: S.catch_up: must be one of "skip", "one", "all", not 3',
        ]),
        (HOURLY + "priority = 10", ["6: S.priority: must be at most 9, not 10"]),
        (HOURLY + "paused = true", ["6: S.paused: unknown key; known here: anchor, at,"]),
        (HOURLY + "input = { day = 2026-01-01 }", ["6: S.input.day: is a date or time"]),
        ('name = "a b"\nworkflow = "w"\nevery = "1h"', ["3: S.name: has up to 100 letters"]),
        ('name = "x"\nworkflow = "w"\nat = 2026-01-01', [
            "5: S.at: must be a date and time with its offset, such as 2026-01-31T09:00:00Z, not",
        ]),
        ('name = "x"\nworkflow = "w"\nat = "soon"', [
            "5: S.at: must be a date and time with its offset, such as 2026-01-31T09:00:00Z, not",
        ]),
        ('name = "x"\nworkflow = "w"\nat = 2026-01-01T00:00:00', [
            "5: S.at: at needs an offset from UTC, for example 2026-01-01T00:00:00Z",
        ]),
        ('name = "x"\nworkflow = "w"\nevery = "10ms"', ["5: S.every: every is from 1 s to"]),
        (f"{HOURLY}[[tenants.acme.schedules]]\n{HOURLY}", [
            "7: tenants.acme.schedules[1].name: a schedule before it is called 'x' already",
        ]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, problems: list[str]) -> None:
    found = problems_of(tmp_path, f"\n[[tenants.acme.schedules]]\n{text}")

    assert len(found) == len(problems)
    for each, expected in zip(found, problems, strict=True):
        assert each.startswith(expected.replace(" S", " tenants.acme.schedules[0]"))


def test_a_schedule_of_a_workflow_that_the_tenant_may_not_run_is_a_mistake(tmp_path: Path) -> None:
    found = problems_of(
        tmp_path,
        f"""
[[tiers.gold.schedules]]
{HOURLY}
[tenants.acme]
tier = "gold"
workflows = ["other"]
[[tenants.acme.schedules]]
name = "y"
workflow = "v"
every = "1h"
""",
    )

    assert found == [
        ("7: tenants.acme: its tier's schedule 'x' starts 'w', which the tenant may not run"),
        "12: tenants.acme.schedules[0].workflow: the tenant may not run 'v'",
    ]


def test_a_change_applies_live(tmp_path: Path) -> None:
    path = tmp_path / "insula.toml"
    path.write_text("[tenants.acme]")
    before = load(path, {})
    path.write_text(f"[[tenants.acme.schedules]]\n{HOURLY}")
    after = load(path, {})

    assert diff(before, after).changed == {"acme": ("schedules",)}
    assert diff(after, load(path, {})).empty
    assert before.digest != after.digest


def test_schedules_of_a_tenant_made_at_run_time_are_checked_and_kept() -> None:
    given = {"name": "x", "workflow": "w", "at": "2026-01-31T09:00:00Z"}
    _, declaration = declare(CreateTenant(id="acme", set={"schedules": [given]}), {})
    assert load_declaration(dump_declaration(declaration)) == declaration

    with pytest.raises(InvalidRequest) as caught:
        declare(CreateTenant(id="acme", set={"schedules": [{**given, "cron": "* * *"}]}), {})
    assert caught.value.data["problems"] == [
        "schedules[0]: give exactly one of cron, every and at, not cron and at",
        (
            "schedules[0].cron: cron '* * *' must have five fields:"
            " minute, hour, day of month, month, day of week"
        ),
    ]
