"""What is said to systemd, and when nothing is."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.daemon.sd_notify import Notifier, watchdog_interval
from tests.daemon.process import NotifySocket


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NotifySocket]:
    """Yield a socket of either kind that systemd uses."""
    abstract = f"@insula-{secrets.token_hex(8)}"
    address = str(tmp_path / "notify") if request.param == "path" else abstract
    socket = NotifySocket(address)
    yield socket
    socket.close()


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()

    assert not notifier.listened
    notifier.ready("serving")


def test_a_supervisor_that_does_not_listen_any_more_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notifier = Notifier()

    assert "NOTIFY_SOCKET" not in os.environ
    notifier.ready("serving")


def test_the_messages_are_those_of_sd_notify(
    monkeypatch: pytest.MonkeyPatch, listening: NotifySocket
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", listening.address)
    notifier = Notifier()
    said: list[Callable[[], None]] = [
        lambda: notifier.extend("waiting\nfor the database", within=41.5),
        lambda: notifier.ready("serving 2 tenants"),
        notifier.reloading,
        notifier.watchdog,
        lambda: notifier.stopping("draining", within=10.0),
    ]
    for say in said:
        say()

    extended, ready, reloading, watchdog, stopping = listening.read()
    # A line of its own would be another variable.
    assert extended == {
        "STATUS": "waiting for the database",
        "EXTEND_TIMEOUT_USEC": "41500000",
    }
    assert ready == {"READY": "1", "STATUS": "serving 2 tenants"}
    assert reloading.pop("MONOTONIC_USEC").isdigit()
    assert reloading == {"RELOADING": "1"}
    assert watchdog == {"WATCHDOG": "1"}
    assert stopping == {"STOPPING": "1", "STATUS": "draining", "EXTEND_TIMEOUT_USEC": "85000000"}


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
