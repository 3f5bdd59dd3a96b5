"""Fixtures of the command line's tests."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.cli.main import main
from tests.http.serving import Served, left_sockets, platform, portal, served

__all__ = ["left_sockets", "platform", "portal", "served"]

ROOT = Path(__file__).parents[2]


@dataclass
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.out)


class Terminal(io.TextIOWrapper):
    """A stdin at which somebody sits."""

    def isatty(self) -> bool:
        return True


Insula = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty directory, without the configuration of this machine."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("INSULA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INSULA_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def local(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Insula:
    """Return a function that runs a command in this process, with `input` on its stdin.

    What is `typed` instead comes from a terminal.
    """

    def run(*arguments: str, input: str = "", typed: str | None = None) -> Outcome:
        kind = io.TextIOWrapper if typed is None else Terminal
        stdin = kind(io.BytesIO((typed or input).encode()), "utf-8")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", stdin)
            code = main(arguments)
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def insula(local: Insula, served: Served) -> Insula:
    """Return a function that runs a command in this process, with a daemon behind the socket."""
    return local


@pytest.fixture
def spawned() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return a function that starts a command and leaves it running."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "orchestrator", *arguments]
        started.append(subprocess.Popen(command, **options))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.communicate()
