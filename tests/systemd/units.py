"""The unit files, and what the programs of systemd say about them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = "insula.service"
TEMPLATE = "insula@.service"
NOTIFY_RELOAD = "notify-reload"
UNIX_SOCKET = "unix-socket"


def needs(program: str) -> pytest.MarkDecorator:
    """Skip where a program of systemd (Debian's package `systemd`) is missing."""
    missing = shutil.which(program) is None
    return pytest.mark.skipif(missing, reason=f"{program} is not installed here")


def installed(directory: Path, unit: str, *drop_ins: str) -> Path:
    """Return a copy of a unit, with drop-ins, whose program is there: systemd asks for it.

    Not this Python: its path may have a space in it.
    """
    text = (SYSTEMD / unit).read_text()
    copy = directory / unit
    copy.write_text(text.replace("/opt/insula/bin/insula", "/bin/sh"))
    beside = directory / f"{unit}.d"
    beside.mkdir()
    for name in drop_ins:
        shutil.copy(SYSTEMD / "insula.service.d" / f"{name}.conf.example", beside / f"{name}.conf")
    return copy


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program of systemd."""
    return subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def version() -> int:
    """Return the version of the systemd that is installed here."""
    return int(run("systemd-analyze", "--version").stdout.split()[1])


def settings(unit: str) -> Iterator[tuple[str, str]]:
    """Yield the settings of a unit."""
    for line in (SYSTEMD / unit).read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.startswith("#"):
            yield name, value
