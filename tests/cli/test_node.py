"""`insula status`, `reload`, `tenant` and `check`."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import anyio
import msgspec
import pytest

from orchestrator.cli.exit import UNREACHABLE
from orchestrator.http.serve import bind_unix
from orchestrator.model.api import Alert, LoopBlocked, ReloadReport
from orchestrator.model.errors import TenantBusy
from orchestrator.model.ids import TenantId
from tests.cli.conftest import Insula
from tests.http.platform import HandMadePlatform
from tests.support.wait import until


def test_status_is_for_people_and_for_programs(insula: Insula) -> None:
    shown, document = insula("status"), insula("status", "--json")

    assert "slots          dormant 1\n" in shown.out
    assert document.json["slots"] == {"dormant": 1}


def test_status_names_who_takes_the_slots_and_who_needs_somebody(
    insula: Insula, platform: HandMadePlatform
) -> None:
    well = insula("status").out
    platform.in_quarantine = {"quarantined": 2}
    two = insula("status").out
    platform.in_quarantine = {"quarantined": 7}
    many = insula("status").out

    assert "busiest        acme_corp 4, globex 1\n" in well
    assert "\nquarantined" not in well
    assert "quarantined    globex, wonka (insula tenant why globex)\n" in two
    assert "quarantined    globex, wonka, … (insula tenant why globex)\n" in many


def test_status_says_who_last_held_up_the_event_loop(
    insula: Insula, platform: HandMadePlatform
) -> None:
    assert "last blocked" not in insula("status").out
    moment = datetime(2026, 1, 31, 9, tzinfo=UTC)
    blocked = LoopBlocked(ended_at=moment, milliseconds=600, where="/app/flows.py:7 load")

    platform.blocked = blocked
    assert (
        "last blocked   for 600 ms until 2026-01-31 09:00:00, in /app/flows.py:7 load\n"
        in insula("status").out
    )
    run = UUID(int=7)
    platform.blocked = msgspec.structs.replace(blocked, tenant="acme", run=run, task="load")
    assert f" by task load of run {run} of tenant acme, in " in insula("status").out
    assert insula("status", "--json").json["loop_blocked"]["tenant"] == "acme"


def test_status_does_not_wait_for_a_daemon_that_stands_still(
    local: Insula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.client.calls.STATUS_SECONDS", 0.1)
    with bind_unix(tmp_path / "insula.sock"):  # as of a process that is stopped: nobody accepts
        asked = local("status", "--socket", str(tmp_path / "insula.sock"))

    assert asked.code == UNREACHABLE
    assert "somebody listens at" in asked.err


def test_reload_tells_the_daemon_and_goes(insula: Insula, platform: HandMadePlatform) -> None:
    done = insula("reload")

    assert (done.code, done.out) == (0, "")
    anyio.run(until, lambda: platform.reloads == 1)


def test_reload_and_wait_prints_what_has_changed(
    insula: Insula, platform: HandMadePlatform
) -> None:
    platform.report = ReloadReport(
        applied=True,
        generation=2,
        added=["globex"],
        changed={"acme_corp": ["limits.max_queue_length", "weight"]},
        removed=["initech"],
        notes=["http.listen needs a restart of the daemon"],
    )

    done = insula("reload", "--wait")

    assert done.code == 0
    assert done.out.splitlines() == [
        "+ globex",
        "~ acme_corp: limits.max_queue_length, weight",
        "- initech",
    ]
    assert "note: http.listen needs a restart" in done.err


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_refused_reload_fails_with_every_problem(
    insula: Insula, platform: HandMadePlatform, form: list[str]
) -> None:
    platform.report = ReloadReport(applied=False, generation=1, problems=["a.toml:1: x", "b:2: y"])

    done = insula("reload", "--wait", *form)

    assert done.code == 1
    assert done.err.splitlines() == [
        "error[config_invalid]: a.toml:1: x",
        "error[config_invalid]: b:2: y",
        "hint: the old configuration stays in force",
    ]
    assert not form or done.json["applied"] is False


def test_a_tenant_is_created_listed_and_shown(insula: Insula) -> None:
    options = ["--name", "Globex", "--tier", "basic", "--alias", "Globex-1", "--alias", "G2"]

    created = insula("tenant", "create", "globex", *options, "--set", "limits.max_queue_length=500")

    assert (created.code, created.out) == (0, "globex\n")
    listed = insula("tenant", "list").out.splitlines()
    assert [row.split()[0] for row in listed] == ["tenant", "acme_corp", "globex"]
    shown = insula("tenant", "show", "globex")
    assert "aliases           Globex-1, G2\n" in shown.out
    assert '"limits.max_queue_length": 500' in shown.out
    document = insula("tenant", "show", "globex", "--json").json
    assert document["schema"] == "tenant_globex"


def test_a_tenant_says_why_it_does_not_run(insula: Insula) -> None:
    told = insula("tenant", "why", "acme-corp")

    assert "it needs somebody: no right" in told.out
    assert "quarantined" in told.out.splitlines()[-1]
    assert insula("tenant", "why", "acme-corp", "--json").json["state"] == "quarantined"


def test_a_tenant_near_a_limit_is_marked_and_says_which(
    insula: Insula, platform: HandMadePlatform
) -> None:
    acme, at = TenantId("acme_corp"), datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    alert = Alert(quota="max_runs_per_hour", since=at, at=at, used=8, allowed=10)
    platform.add("globex")
    platform.views[acme] = msgspec.structs.replace(platform.views[acme], alerts=[alert])

    said = "max_runs_per_hour: 8 of 10 at 2026-03-01 12:30:00 UTC"
    near, far = insula("tenant", "list").out.splitlines()[1:]
    assert "max_runs_per_hour" in near
    assert "max_runs" not in far
    for command in ("show", "why"):
        assert said in insula("tenant", command, "acme_corp").out
        told = insula("tenant", command, "acme_corp", "--json").json["alerts"]
        assert [each["used"] for each in told] == [8]


def test_a_tenants_audit_is_listed(insula: Insula, platform: HandMadePlatform) -> None:
    insula("tenant", "pause", "acme_corp", "--workflow", "quick")
    platform.refuse = TenantBusy("the mailbox is full")
    insula("tenant", "resume", "acme_corp")
    told = insula("tenant", "audit", "acme-corp")

    head, newest, oldest = told.out.splitlines()
    assert head.split() == ["at", "who", "operation", "of", "outcome", "detail"]
    assert f"uid {os.geteuid()}" in newest
    assert newest.rstrip().endswith("tenant_busy  the mailbox is full")
    assert "tenant.pause" in oldest
    cut = insula("tenant", "audit", "acme_corp", "--limit", "1")
    assert cut.err == "there are more than 1; raise --limit\n"
    (entry,) = insula("tenant", "audit", "acme_corp", "--limit", "1", "--json").json["entries"]
    assert (entry["operation"], entry["outcome"]) == ("tenant.resume", "tenant_busy")


def test_a_tenant_of_an_impossible_id_is_usage(insula: Insula) -> None:
    done = insula("tenant", "create", "Acme Corp")

    assert done.code == 2
    assert "upper-case" in done.err
    assert "characters other than" in done.err


def test_no_tenants_say_how_to_get_one(insula: Insula, platform: HandMadePlatform) -> None:
    platform.views.clear()

    done = insula("tenant", "list")

    assert (done.out, "insula tenant create" in done.err) == ("", True)


def test_check_without_a_file_finds_the_defaults_valid(local: Insula) -> None:
    done = local("check")

    assert (done.code, done.out) == (0, "")
    assert "no problems" in done.err


def test_check_finds_the_usual_file_and_names_every_problem_with_its_line(
    local: Insula, tmp_path: Path
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "insula.toml").write_text("[node]\nnme = 1\n\n[htp]\n")

    done = local("check")

    assert done.code == 78
    first, second = (each for each in done.err.splitlines() if each.startswith("error"))
    assert "insula.toml:2: " in first
    assert "insula.toml:4: " in second


def test_check_imports_the_workflows_too(
    local: Insula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_flow.py").write_text("import a_module_that_is_not_there\n")
    (tmp_path / "empty_flow.py").write_text("")
    modules = '["broken_flow", "empty_flow"]'
    (tmp_path / "c.toml").write_text(f"[workflows]\nmodules = {modules}\n")

    done = local("check", "--config", "c.toml", "--json")

    assert done.code == 78
    broken, empty = done.json["problems"]
    assert "a_module_that_is_not_there" in broken
    assert "empty_flow" in empty


def test_check_names_the_schedules_that_no_workflow_fits(
    local: Insula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "timed_flow.py").write_text(
        "from orchestrator import Context, job\n\n"
        '@job("report")\nasync def report(ctx: Context, month: int) -> None: ...\n'
    )
    (tmp_path / "c.toml").write_text("""
workflows.modules = ["timed_flow"]
[[tiers.basic.schedules]]
name = "monthly"
workflow = "report"
cron = "0 3 1 * *"
input = { month = "may" }
[[tenants.acme.schedules]]
name = "typing"
workflow = "reprot"
every = "1h"
""")

    done = local("check", "--config", "c.toml", "--json")

    assert done.code == 78
    wrong_input, unknown = (each.partition("c.toml:")[2] for each in done.json["problems"])
    assert wrong_input.startswith("5: tiers.basic.schedules[0].input: ")
    assert unknown == (
        "10: tenants.acme.schedules[0].workflow: no workflow 'reprot' is served;"
        " did you mean 'report'?"
    )


def test_check_says_what_is_wrong_with_files_modules_and_names_at_once(
    local: Insula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    flow = 'from orchestrator import Context, job\n\n@job("ship")\ndef ship(ctx: Context): ...\n'
    (tmp_path / "shipping_flow.py").write_text(f"print('imported')\n{flow}")
    (tmp_path / "c.toml").write_text("""
[node]
nme = 1
[workflows]
modules = ["a-b", "shipping_flow"]
[tenants.acme]
workflows = ["ship",
"shp"]
[tiers.basic]
workflows = ["none_at_all"]
""")

    done = local("check", "--config", "c.toml", "--json")

    assert done.code == 78
    assert [each.partition("c.toml:")[2].partition(";")[0] for each in done.json["problems"]] == [
        "3: node.nme: unknown key",
        "5: workflows.modules[0]: names a module such as app.reports, unlike 'a-b'",
        "10: tiers.basic.workflows[0]: no workflow 'none_at_all' is served",
        "8: tenants.acme.workflows[1]: no workflow 'shp' is served",
    ]


def test_check_names_the_line_of_each_module_that_can_not_be_imported(
    local: Insula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "unfinished_flow.py").write_text("def f(:\n")
    (tmp_path / "c.toml").write_text("""
[workflows]
modules = [
    "unfinished_flow",
    "misspelt_flow",
]
[log]
level = "loud"
""")

    done = local("check", "--config", "c.toml")

    assert done.code == 78
    *errors, hint = done.err.splitlines()
    level, unfinished, misspelt = errors
    assert "c.toml:8: log.level: " in level
    assert "c.toml:4: workflows.modules[0]: module 'unfinished_flow' can not be" in unfinished
    assert "unfinished_flow.py:1)" in unfinished
    assert "c.toml:5: workflows.modules[1]: module 'misspelt_flow' can not be" in misspelt
    assert "PYTHONPATH" in hint


def test_check_of_a_file_that_is_not_there_is_a_configuration_error(local: Insula) -> None:
    done = local("check", "--config", "nowhere.toml")

    assert (done.code, done.err.startswith("error[config_invalid]: ")) == (78, True)
