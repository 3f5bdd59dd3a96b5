"""A reload changes everything or nothing, and says what it could not change."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import asyncpg
import pytest

from orchestrator.daemon.reload import Reloader
from orchestrator.daemon.sd_notify import Notifier, watchdog_interval
from orchestrator.model.errors import DatabaseUnavailable
from orchestrator.settings.load import Snapshot, load
from tests.support.wait import until

ENVIRON = {"INSULA_STATE_DIR": "/nonexistent/state", "INSULA_RUNTIME_DIR": "/nonexistent/run"}


class Files:
    """A configuration file, the reloader that reads it, and what it applied."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "insula.toml"
        self.applied: list[Snapshot] = []
        self.refuse: Exception | None = None
        self.path.write_text("", encoding="utf-8")
        self.reloader = Reloader(self.read(), self.read, self.apply, Notifier())

    def read(self) -> Snapshot:
        return load(self.path, ENVIRON)

    async def apply(self, snapshot: Snapshot) -> None:
        await anyio.lowlevel.checkpoint()
        if self.refuse is not None:
            raise self.refuse
        self.applied.append(snapshot)

    def write(self, text: str) -> None:
        self.path.write_text(text, encoding="utf-8")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


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
    assert first.notes == second.notes
    assert "supervision.mailbox" in second.notes[0]
    files.write("[tenants.acme]\n")
    assert (await files.reloader.reload()).notes == []


@pytest.mark.parametrize("text", ["[tenants.x", "[tenants.Bad-Id]", "database.role_prefix = 'x'"])
async def test_anything_wrong_keeps_the_old_generation_whole(files: Files, text: str) -> None:
    files.write("[tenants.acme]\n")
    await files.reloader.reload()
    before = files.reloader.snapshot
    files.write(text)
    report = await files.reloader.reload()
    assert not report.applied
    assert report.problems
    assert files.reloader.snapshot is before
    assert len(files.applied) == 1
    assert files.reloader.last is report


@pytest.mark.parametrize(
    "error",
    [
        DatabaseUnavailable("gone"),
        asyncpg.QueryCanceledError("gone"),
        asyncpg.InterfaceError("gone"),
        OSError("gone"),
    ],
)
async def test_what_the_database_or_the_system_refuses_refuses_the_reload(
    files: Files, error: Exception
) -> None:
    files.write("[tenants.acme]\n")
    files.refuse = error
    report = await files.reloader.reload()
    assert (report.applied, report.problems) == (False, ["gone"])
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


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().ready("serving")


def test_a_supervisor_that_does_not_listen_any_more_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notifier = Notifier()
    assert "NOTIFY_SOCKET" not in os.environ
    notifier.ready("serving")


def test_the_messages_are_those_of_sd_notify(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notifier = Notifier()
        said: list[Callable[[], None]] = [
            lambda: notifier.ready("serving 2 tenants"),
            notifier.reloading,
            notifier.watchdog,
            lambda: notifier.stopping("draining", within=10.0),
        ]
        messages = []
        for say in said:
            say()
            messages.append(listening.recv(4096).decode().splitlines())
    assert messages[0] == ["READY=1", "STATUS=serving 2 tenants"]
    assert messages[1][0] == "RELOADING=1"
    assert messages[1][1].removeprefix("MONOTONIC_USEC=").isdigit()
    assert messages[2] == ["WATCHDOG=1"]
    assert messages[3] == ["STOPPING=1", "STATUS=draining", "EXTEND_TIMEOUT_USEC=40000000"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], expected: float | None
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert watchdog_interval() == expected
