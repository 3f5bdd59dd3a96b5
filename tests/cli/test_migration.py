"""`insula migrate`."""

from __future__ import annotations

from orchestrator.model.migration import MigrateTenants
from tests.cli.conftest import Insula
from tests.http.platform import HandMadePlatform


def test_what_was_migrated_is_counted(insula: Insula, platform: HandMadePlatform) -> None:
    done = insula("migrate", "--canary", "acme-corp", "--parallel", "2")

    assert (done.code, done.out, done.err) == (0, "", "1 migrated, 2 up to date\n")
    assert platform.migrations.wanted == [MigrateTenants(canary="acme-corp", parallel=2)]


def test_a_dry_run_prints_what_would_be_done(insula: Insula) -> None:
    done = insula("migrate", "--dry-run")

    assert [line.split() for line in done.out.splitlines()] == [
        ["tenant", "would", "get", "not", "tried"],
        ["acme_corp", "0001_flight"],
    ]
    assert done.err == "1 would be migrated, 2 up to date\n"


def test_failures_are_a_table_and_an_exit_code(insula: Insula) -> None:
    done = insula("migrate", "--tenant", "acme_corp", "--tenant", "broken")

    assert done.code == 1
    assert done.out.splitlines()[1].startswith("broken  migration_failed  0001_flight.sql:3: there")
    assert done.err == "hint: mend it\n1 migrated, 2 up to date, 1 failed\n"
    assert insula("migrate", "--tenant", "broken", "--json").json["failed"][0]["tenant"] == "broken"
