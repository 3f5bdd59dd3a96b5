"""The user that the unit runs as, and who may read its configuration."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from tests.systemd.units import SYSTEMD, UNIT, needs, run, settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root directory of a system on which nothing is installed yet."""
    (tmp_path / "etc").mkdir()
    return tmp_path


def add_user(root: Path) -> tuple[int, int]:
    """Make the user and its group; return their numbers."""
    file = root / "insula.conf"
    shutil.copy(SYSTEMD / "insula.sysusers", file)
    added = run("systemd-sysusers", f"--root={root}", file)
    assert added.returncode == 0, added.stderr
    fields = (root / "etc/passwd").read_text().split(":")
    assert (fields[0], fields[5]) == ("insula", "/var/lib/insula")
    return int(fields[2]), int(fields[3])


@needs("systemd-sysusers")
def test_the_user_of_the_unit_is_made(root: Path) -> None:
    add_user(root)

    assert ("User", "insula") in settings(UNIT)
    assert ("Group", "insula") in settings(UNIT)


@needs("systemd-sysusers")
@needs("systemd-tmpfiles")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to a group")
def test_the_configuration_is_roots_to_write_and_the_daemons_to_read(root: Path) -> None:
    _, group = add_user(root)
    directory = root / "etc/insula"
    (directory / "tenants.d").mkdir(parents=True)
    for name in ("insula.toml", "tenants.d/acme.toml", "installation.key"):
        (directory / name).touch()

    made = run("systemd-tmpfiles", "--create", f"--root={root}", SYSTEMD / "insula.tmpfiles")

    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    assert {
        str(path.relative_to(root)): (stat.filemode(found.st_mode), found.st_uid, found.st_gid)
        for path in (directory, *directory.rglob("*"))
        for found in (path.stat(),)
    } == {
        "etc/insula": ("drwxr-x---", 0, group),
        "etc/insula/tenants.d": ("drwxr-x---", 0, group),
        "etc/insula/insula.toml": ("-rw-r-----", 0, group),
        "etc/insula/tenants.d/acme.toml": ("-rw-r-----", 0, group),
        "etc/insula/installation.key": ("-rw-------", 0, 0),
    }
