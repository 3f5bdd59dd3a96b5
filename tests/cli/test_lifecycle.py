"""`insula tenant update|enable|disable|rename|delete`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from orchestrator.model.api import RenameTenant, UpdateTenant
from tests.cli.conftest import Insula
from tests.http.platform import HandMadePlatform
from tests.http.serving import Served


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


def test_a_deletion_asks_for_the_id(insula: Insula, platform: HandMadePlatform) -> None:
    no = insula("tenant", "delete", "acme_corp", "--purge", typed="yes\n")
    assert (no.code, platform.lifecycle.asked) == (2, [])
    assert "tenant acme_corp and all its data will be dropped, with its runs and all" in no.err
    assert "that is not its id, acme_corp: nothing was deleted" in no.err

    yes = insula("tenant", "delete", "acme_corp", "--purge", typed="acme_corp\n")
    assert (yes.code, platform.lifecycle.asked) == (0, [("delete", "acme_corp", False, False, 0.0)])


@pytest.mark.parametrize("verb", [["delete", "--purge"], ["erase"]], ids=["delete", "erase"])
def test_who_destroys_by_an_alias_is_told_the_id_and_types_that(
    insula: Insula, platform: HandMadePlatform, verb: list[str]
) -> None:
    no = insula("tenant", *verb, "acme-corp", typed="acme-corp\n")
    assert (no.code, platform.lifecycle.asked) == (2, [])
    assert "tenant acme_corp (acme-corp leads to it) and all its data" in no.err

    assert insula("tenant", *verb, "acme-corp", typed="acme_corp\n").code == 0


@pytest.mark.parametrize("verb", [["delete", "--purge"], ["erase"]], ids=["delete", "erase"])
def test_nobody_is_asked_about_a_tenant_that_is_not_there(insula: Insula, verb: list[str]) -> None:
    done = insula("tenant", *verb, "nobody", typed="nobody\n")

    assert done.code == 3
    assert done.err.startswith("error[tenant_not_found]")


def test_an_erasure_reaches_a_tenant_that_was_deleted_before(
    insula: Insula, platform: HandMadePlatform
) -> None:
    platform.views.clear()
    platform.put_away.add("acme_corp")

    assert insula("tenant", "erase", "acme_corp", typed="acme_corp\n").code == 0


@pytest.mark.parametrize("verb", [["delete", "--purge"], ["erase"]], ids=["delete", "erase"])
def test_without_a_terminal_nobody_is_asked(
    insula: Insula, platform: HandMadePlatform, verb: list[str]
) -> None:
    done = insula("tenant", *verb, "acme_corp", "--json", input="acme_corp\n")

    assert (done.code, platform.lifecycle.asked) == (2, [])
    assert "no terminal to ask at, and a script says --force" in done.json["error"]["detail"]


def test_a_script_that_leaves_its_pipe_open_is_not_waited_for(
    served: Served, spawned: Callable[..., subprocess.Popen[bytes]]
) -> None:
    command = ("tenant", "delete", "acme_corp", "--purge", "--socket", str(served.path))
    process = spawned(*command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)

    assert process.wait(timeout=60) == 2


def test_an_erasure_asks_for_the_id_and_says_how_many_keys_are_destroyed(
    insula: Insula, platform: HandMadePlatform
) -> None:
    no = insula("tenant", "erase", "acme_corp", typed="yes\n")
    assert (no.code, platform.lifecycle.asked) == (2, [])
    assert "nothing brings back what they seal" in no.err

    yes = insula("tenant", "erase", "acme_corp", "--force")
    assert yes.code == 0
    assert yes.out.splitlines() == [
        "erased          acme_corp",
        "schema          tenant_acme_corp",
        "roles           insula_a_acme_corp, insula_e_acme_corp",
        "keys destroyed  1",
        "keys left       2, of former tenants: insula tenant erase acme_corp --former",
    ]


def test_the_keys_of_former_tenants_are_destroyed_by_the_id_alone(
    insula: Insula, platform: HandMadePlatform
) -> None:
    no = insula("tenant", "erase", "acme_corp", "--former", typed="yes\n")
    assert (no.code, platform.lifecycle.asked) == (2, [])
    assert "the keys of all former tenants of the id acme_corp will be destroyed" in no.err

    yes = insula("tenant", "erase", "acme_corp", "--former", typed="acme_corp\n")
    assert platform.lifecycle.asked == [("erase_former", "acme_corp")]
    assert [line.strip() for line in yes.out.splitlines()] == [
        "erased          former tenants of acme_corp",
        "keys destroyed  2",
    ]
