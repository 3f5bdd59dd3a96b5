"""The unit file: systemd finds nothing to say about it, and calls it well locked up."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
WORST_EXPOSURE = 12
"""In tenths, as `--threshold` takes it: the level is reached by the unit in systemd/."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here"
)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return a copy whose program is there: systemd complains of one that is not installed.

    Not this Python: its path may have a space in it.
    """
    text = (SYSTEMD / "insula.service").read_text()
    copy = tmp_path / "insula.service"
    copy.write_text(text.replace("/opt/insula/bin/insula", "/bin/sh"))
    return copy


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def settings() -> Iterator[tuple[str, str]]:
    for line in (SYSTEMD / "insula.service").read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.startswith("#"):
            yield name, value


@needs_systemd
def test_systemd_has_nothing_to_say_about_the_unit(unit: Path) -> None:
    verified = analyze("verify", unit)

    # An unknown key or value is only a warning, and the exit code stays 0.
    assert verified.stderr == ""
    assert verified.returncode == 0


@needs_systemd
def test_the_unit_is_locked_up_well(unit: Path) -> None:
    secured = analyze(
        "security", "--offline=yes", f"--threshold={WORST_EXPOSURE}", "--no-pager", unit
    )

    assert secured.returncode == 0, secured.stdout


def test_a_wrong_configuration_is_not_restarted() -> None:
    assert ("RestartPreventExitStatus", "78") in settings()


def test_start_and_reload_read_the_same_file() -> None:
    commands = dict(settings())

    assert commands["ExecStart"].endswith(" serve --config /etc/insula/insula.toml")
    assert commands["ExecReload"].endswith(" reload --wait --config /etc/insula/insula.toml")
