"""`insula tenant update|enable|disable|rename|delete`."""

from __future__ import annotations

import pytest

from orchestrator.model.api import RenameTenant, UpdateTenant
from tests.cli.conftest import Insula
from tests.http.platform import HandMadePlatform


def test_an_update_sends_what_was_named(insula: Insula, platform: HandMadePlatform) -> None:
    platform.add("globex", source="api")
    change = ("--tier", "premium", "--set", "limits.max_retries=3", "--unset", "weight")

    done = insula("tenant", "update", "globex", *change)

    assert (done.code, done.err) == (0, "updated globex\n")
    asked = UpdateTenant(tier="premium", set={"limits.max_retries": 3}, unset=["weight"])
    assert platform.lifecycle.asked == [("update", "globex", asked)]


def test_an_update_of_nothing_is_a_mistake(insula: Insula) -> None:
    assert insula("tenant", "update", "acme_corp").code == 2


def test_what_a_file_declares_is_refused(insula: Insula) -> None:
    done = insula("tenant", "update", "acme_corp", "--name", "x")

    assert done.code == 1
    assert done.err == (
        "error[tenant_declared_in_file]: 'acme_corp' is declared in a file\nhint: there\n"
    )


def test_a_tenant_is_disabled_shown_so_and_enabled(insula: Insula) -> None:
    off = insula("tenant", "disable", "acme-corp", "--reason", "has not paid")
    shown = insula("tenant", "show", "acme-corp").out
    on = insula("tenant", "enable", "acme-corp", "--json")

    assert off.err == "disabled acme_corp\n"
    assert "disabled because  has not paid" in shown
    assert on.json["enabled"]


def test_rotated_credentials_are_told(insula: Insula, platform: HandMadePlatform) -> None:
    platform.add("trusted")

    done = insula("tenant", "rotate-credentials", "acme-corp")
    trusted = insula("tenant", "rotate-credentials", "trusted")

    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "rotated       acme_corp",
        "roles         insula_a_acme_corp, insula_e_acme_corp",
        "rotation      3",
        "old password  refused",
    ]
    assert "asks these logins for no password" in trusted.err


def test_a_tenant_is_renamed(insula: Insula, platform: HandMadePlatform) -> None:
    done = insula("tenant", "rename", "acme-corp", "acme_inc", "--no-alias", "--wait", "2s")
    again = insula("tenant", "rename", "acme_inc", "acme_inc", "--force", "--json")

    assert (done.code, done.err) == (0, "renamed: it is acme_inc\n")
    assert [each[2] for each in platform.lifecycle.asked] == [
        RenameTenant(to="acme_inc", alias=False, wait=2.0),
        RenameTenant(to="acme_inc", force=True),
    ]
    assert (again.code, again.json["error"]["code"]) == (1, "tenant_exists")


def test_a_forced_deletion_prints_what_went_and_what_was_kept(insula: Insula) -> None:
    done = insula("tenant", "delete", "acme_corp", "--keep-results", "--force", "--wait", "2s")

    assert done.code == 0
    assert done.out.splitlines() == [
        "deleted      acme_corp",
        "schema       tenant_acme_corp",
        "roles        insula_a_acme_corp, insula_e_acme_corp",
        "runs kept    3",
        "in the file  /srv/acme_corp.jsonl.gz",
    ]


@pytest.mark.parametrize("flags", [[], ["--keep-results", "--purge"]])
def test_a_deletion_says_what_becomes_of_the_results(
    insula: Insula, platform: HandMadePlatform, flags: list[str]
) -> None:
    done = insula("tenant", "delete", "acme_corp", "--force", *flags)

    assert done.code == 2
    assert "disable the tenant instead" in done.err
    assert platform.lifecycle.asked == []


def test_a_deletion_asks_for_the_name(insula: Insula, platform: HandMadePlatform) -> None:
    no = insula("tenant", "delete", "acme_corp", "--purge", input="yes\n")
    none = insula("tenant", "delete", "acme_corp", "--purge", input="")
    assert (no.code, none.code, platform.lifecycle.asked) == (2, 2, [])
    assert "nobody is there to type it, and a script says --force: nothing was deleted" in none.err
    assert "will be dropped, with its runs and all else" in no.err

    yes = insula("tenant", "delete", "acme_corp", "--purge", input="acme_corp\n")
    assert (yes.code, platform.lifecycle.asked) == (0, [("delete", "acme_corp", False, False, 0.0)])


def test_an_erasure_asks_for_the_name_and_says_how_many_keys_are_destroyed(
    insula: Insula, platform: HandMadePlatform
) -> None:
    no = insula("tenant", "erase", "acme_corp", input="yes\n")
    assert (no.code, platform.lifecycle.asked) == (2, [])
    assert "nothing brings back what they seal" in no.err

    yes = insula("tenant", "erase", "acme_corp", "--force")
    assert yes.code == 0
    assert yes.out.splitlines() == [
        "erased          acme_corp",
        "schema          tenant_acme_corp",
        "roles           insula_a_acme_corp, insula_e_acme_corp",
        "keys destroyed  1",
    ]
