"""Where the daemon keeps its files, and where the command line finds its socket."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.model.errors import ConfigError

SOCKET_NAME = "insula.sock"
SOCKET_PATH_BYTES = 107
"""A unix socket's address has 108 bytes, the last of them zero (unix(7))."""


def state_dir(environ: Mapping[str, str], *, is_root: bool) -> Path:
    """Return where the state goes when no configuration says it."""
    if given := environ.get("STATE_DIRECTORY"):  # systemd; several are separated by colons
        return Path(given.split(":")[0])
    if is_root:
        return Path("/var/lib/insula")
    return _xdg(environ, "XDG_STATE_HOME", _home(environ) / ".local/state") / "insula"


def runtime_dir(environ: Mapping[str, str], *, is_root: bool) -> Path:
    """Return where the control socket goes when no configuration says it.

    The last resort is a directory of the user's own below /tmp; who makes it must check its owner.
    """
    if given := environ.get("RUNTIME_DIRECTORY"):
        return Path(given.split(":")[0])
    if is_root:
        return Path("/run/insula")
    if environ.get("XDG_RUNTIME_DIR", "").startswith("/"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "insula"
    # Not tempfile.gettempdir(): daemon and command line may differ in TMPDIR and must still meet.
    return Path(f"/tmp/insula-{os.geteuid()}")  # noqa: S108


def expanded(text: str) -> Path:
    """Return a path with its `~` replaced; one of a user who is not there stays as it is."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def beside(directory: Path, given: str) -> Path:
    """Return a path as seen from a directory; the steps up that it takes are taken, over links too.

    >>> beside(Path("/srv/shop/config"), "../state")
    PosixPath('/srv/shop/state')
    """
    path = directory / expanded(given)
    return path.resolve() if ".." in path.parts else path


def absolute(path: Path) -> Path:
    """Return `path` as seen from the current directory; raises ConfigError when that is gone."""
    try:
        return path.absolute()
    except FileNotFoundError:
        raise ConfigError(
            ["the current directory does not exist any more"],
            hint="change to one that does, or give absolute paths",
        ) from None


def control_socket(runtime_dir: Path) -> Path:
    """Return the path of the control socket; raises ConfigError when the system would cut it."""
    path = runtime_dir / SOCKET_NAME
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_BYTES:
        raise ConfigError(
            [f"the control socket {path} has {size} bytes; a socket may have {SOCKET_PATH_BYTES}"],
            hint="set node.runtime_dir or INSULA_RUNTIME_DIR to a shorter directory",
        )
    return path


def _xdg(environ: Mapping[str, str], name: str, fallback: Path) -> Path:
    given = environ.get(name, "")
    return Path(given) if given.startswith("/") else fallback  # a relative one is to be ignored


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ["HOME"]) if environ.get("HOME") else Path.home()
