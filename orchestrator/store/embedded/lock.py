"""One daemon a state directory, kept by a lock that dies with its process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.model.errors import StartError, StateDirectoryInUse


class StateLock:
    """Holds `insula.lock` in the state directory, which it makes if it is missing.

    The kernel lets go of the lock when the process ends, however it ends, so there is nothing
    to clean up; the process id in the file is for people only.

    >>> with StateLock(Path("/var/lib/insula")):
    ...     serve()
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "insula.lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock; raises StateDirectoryInUse with the process id of the holder."""
        make_state_dir(self._path.parent)
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(
                f"the state directory {self._path.parent} can not be used: {error.strerror}",
                hint="choose another one: [node] state_dir, or INSULA_STATE_DIR",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise StateDirectoryInUse(
                f"another daemon (process {holder or 'unknown'}) runs on {self._path.parent}",
                hint="stop it, or give this one its own state_dir",
                data={"pid": int(holder) if holder.isdigit() else None},
            ) from None
        self._descriptor = descriptor
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            self.release()
            raise StartError(
                f"the state directory {self._path.parent} can not be written: {error.strerror}",
                hint="make room on its file system",
            ) from error

    def release(self) -> None:
        """Let go of the lock; a second time does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def make_state_dir(state_dir: Path) -> None:
    """Make the state directory: private, but for root passable, so that a server can run below.

    PostgreSQL refuses to run as root, so its files belong to another user, who has to get
    through here; nobody but the owner can list the directory.
    """
    mode = 0o711 if os.geteuid() == 0 else 0o700
    try:
        state_dir.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(
            f"the state directory {state_dir} can not be made: {error.strerror}",
            hint="choose another one: [node] state_dir, or INSULA_STATE_DIR",
        ) from error
