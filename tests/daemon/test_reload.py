"""A reload changes everything or nothing, and says what it could not change."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
import anyio.lowlevel
import asyncpg
import pytest

from orchestrator.daemon.reload import SWITCH_SECONDS, Reloader
from orchestrator.daemon.sd_notify import Notifier
from orchestrator.model.api import ReloadReport
from orchestrator.model.errors import DatabaseUnavailable
from orchestrator.model.ids import TenantId
from orchestrator.settings.load import Snapshot, load
from tests.support.wait import until

ENVIRON = {"INSULA_STATE_DIR": "/nonexistent/state", "INSULA_RUNTIME_DIR": "/nonexistent/run"}


class Files:
    """A configuration file, the reloader that reads it, and what it applied."""

    def __init__(self, directory: Path, text: str = "") -> None:
        self.path = directory / "insula.toml"
        self.applied: list[Snapshot] = []
        self.refuse: Exception | None = None
        self.reads = 0
        self.reading: Callable[[], None] = lambda: None
        self.changes: dict[TenantId, list[str]] = {}
        self.write(text)
        self.reloader = Reloader(self.read(), self.read, self.apply, Notifier())

    def read(self) -> Snapshot:
        self.reads += 1
        self.reading()
        return load(self.path, ENVIRON)

    async def apply(self, snapshot: Snapshot) -> Mapping[TenantId, list[str]]:
        await anyio.lowlevel.checkpoint()
        if self.refuse is not None:
            raise self.refuse
        self.applied.append(snapshot)
        return self.changes

    def write(self, text: str) -> None:
        self.path.write_text(text, encoding="utf-8")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def test_what_a_tier_changes_of_registered_tenants_is_reported_too(files: Files) -> None:
    files.changes = {TenantId("globex"): ["weight"]}
    files.write("[tiers.basic]\nweight = 3\n")

    report = await files.reloader.reload()

    assert report.changed == {"globex": ["weight"]}


async def test_what_changed_is_reported(files: Files) -> None:
    files.write("[tenants.acme]\n[tenants.globex]\n")
    report = await files.reloader.reload()
    assert (report.applied, report.added) == (True, ["acme", "globex"])
    files.write("[tenants.acme]\nweight = 3\n")
    report = await files.reloader.reload()
    assert report.changed == {"acme": ["weight"]}
    assert report.removed == ["globex"]
    assert report.generation == files.reloader.generation == 3


async def test_what_waits_for_a_restart_is_said_at_every_reload_until_then(files: Files) -> None:
    files.write("supervision.mailbox = 7\n")
    first = await files.reloader.reload()
    files.write("supervision.mailbox = 7\n[tenants.acme]\n")
    second = await files.reloader.reload()
    assert first.notes == second.notes == ["supervision.mailbox needs a restart of the daemon"]
    files.write("[tenants.acme]\n")
    assert (await files.reloader.reload()).notes == []


@pytest.mark.parametrize("text", ["[tenants.x", "[tenants.Bad-Id]", "database.role_prefix = 'x'"])
async def test_anything_wrong_keeps_the_old_generation_whole(files: Files, text: str) -> None:
    files.write("[tenants.acme]\n")
    await files.reloader.reload()
    before = files.reloader.snapshot
    files.write(text)
    report = await files.reloader.reload()
    assert (report.applied, report.code) == (False, "config_invalid")
    assert report.problems
    assert files.reloader.snapshot is before
    assert len(files.applied) == 1
    assert files.reloader.last is report


async def test_a_setting_of_the_node_that_applies_at_once_is_said(files: Files) -> None:
    files.write('supervision.idle_ttl = "7s"')
    assert (await files.reloader.reload()).notes == ["supervision.idle_ttl applies at once"]


async def test_code_is_not_imported_again_and_the_reload_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    code = tmp_path / "reloaded_flows.py"
    code.write_text("STEPS = 1\n", encoding="utf-8")
    importlib.import_module("reloaded_flows")
    files = Files(tmp_path, 'workflows.modules = ["reloaded_flows"]\n')
    assert (await files.reloader.reload()).notes == []
    code.write_text("STEPS = 2\n", encoding="utf-8")
    (note,) = (await files.reloader.reload()).notes
    assert note.startswith("the code of reloaded_flows has changed; a reload does not import it")


async def test_code_beside_the_module_that_is_named_is_looked_at_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "reloaded_app"
    package.mkdir()
    for name in ("__init__", "flows", "prices", "unused"):
        (package / f"{name}.py").touch()
    for name in ("flows", "prices"):
        importlib.import_module(f"reloaded_app.{name}")
    files = Files(tmp_path, 'workflows.modules = ["reloaded_app.flows"]\n')
    for name in ("prices", "unused"):
        (package / f"{name}.py").write_text("VAT = 0.2\n", encoding="utf-8")
    (note,) = (await files.reloader.reload()).notes
    assert note.startswith("the code of reloaded_app.prices has changed; ")


async def test_who_waits_for_the_event_loop_goes_before_the_reading_of_files(files: Files) -> None:
    usual, seen = sys.getswitchinterval(), []
    files.reading = lambda: seen.append(sys.getswitchinterval())
    await files.reloader.reload()
    assert seen == [SWITCH_SECONDS]
    assert sys.getswitchinterval() == usual


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DatabaseUnavailable("gone"), "database_unavailable"),
        (asyncpg.QueryCanceledError("gone"), "internal"),
        (asyncpg.CannotConnectNowError("gone"), "database_unavailable"),
        (OSError("gone"), "database_unavailable"),
    ],
)
async def test_what_the_database_or_the_system_refuses_refuses_the_reload(
    files: Files, error: Exception, code: str
) -> None:
    files.write("[tenants.acme]\n")
    files.refuse = error
    report = await files.reloader.reload()
    assert (report.applied, report.code, report.problems) == (False, code, ["gone"])
    files.refuse = None
    assert (await files.reloader.reload()).added == ["acme"]


async def test_requests_during_a_reload_cause_one_more(files: Files) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(files.reloader.run)
        for _ in range(50):
            files.reloader.ask()
        await until(lambda: files.applied)
        files.write("[tenants.acme]\n")
        for _ in range(50):
            files.reloader.ask()
        await until(lambda: files.reloader.snapshot.tenants)
        group.cancel_scope.cancel()
    assert len(files.applied) <= 3


async def test_all_who_wait_during_a_reload_share_the_next_one(files: Files) -> None:
    reports: list[ReloadReport] = []

    async def reload() -> None:
        reports.append(await files.reloader.reload())

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(reload)
        await until(lambda: files.reads > 1)
        files.write("[tenants.acme]\n")
        for _ in range(50):
            group.start_soon(reload)
    assert len(reports) == 100
    assert files.reloader.snapshot.tenants
    assert files.reads - 1 == len({report.generation for report in reports}) <= 3


async def test_a_reload_whose_caller_went_away_is_done_for_the_others(files: Files) -> None:
    files.write("[tenants.acme]\n")
    async with anyio.create_task_group() as patient, anyio.create_task_group() as impatient:
        impatient.start_soon(files.reloader.reload)
        await until(lambda: files.reads > 1)
        patient.start_soon(files.reloader.reload)
        await anyio.wait_all_tasks_blocked()
        impatient.cancel_scope.cancel()
    assert files.reloader.snapshot.tenants
