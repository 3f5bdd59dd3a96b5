"""`insula tenant adopt`."""

from __future__ import annotations

from tests.cli.conftest import Insula

ADOPT = ("tenant", "adopt", "acme-corp", "--schema")


def test_a_dry_run_prints_the_plan(insula: Insula) -> None:
    done = insula(*ADOPT, "legacy", "--dry-run")

    assert (done.code, done.out) == (0, "ALTER SCHEMA legacy RENAME TO tenant_acme_corp\n")
    assert done.err.splitlines() == [
        "notice: web has rights on its tables, and keeps them",
        "legacy would become tenant_acme_corp, at migration 0002",
    ]
    assert insula(*ADOPT, "legacy", "--at", "3", "--json").json["at"] == 3


def test_what_stands_in_the_way_is_an_exit_code(insula: Insula) -> None:
    dry = insula(*ADOPT, "insula", "--dry-run")
    refused = insula(*ADOPT, "insula")

    assert (dry.code, refused.code) == (1, 1)
    assert "obstacle: it is not one of the application's\n" in dry.err
    assert "error[adoption_refused]: the schema 'insula' can not become tenant" in refused.err
