"""What still runs on a data directory: read from postmaster.pid and the process table."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import msgspec

_LOOK = 0.02


class Postmaster(msgspec.Struct, frozen=True):
    """The lines of postmaster.pid that matter here."""

    pid: int
    socket_dir: Path
    ready: bool


async def run(command: Sequence[str], options: Mapping[str, Any]) -> tuple[int, str]:
    """Run a program to its end and return its exit code and what it wrote.

    In a session of its own, which does not get the Ctrl-C of the terminal. Cancelled, it and what
    it started are killed: they are gone when this ends.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603, ASYNC220 - ours, and at once
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, **options
        )
        try:
            while process.poll() is None:  # noqa: ASYNC110 - uvloop's can not become another user
                await anyio.sleep(_LOOK)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # not waited for yet: the number is still its
            process.wait()
            raise
        output.seek(0)
        return process.returncode, output.read().decode(errors="replace")


def read_postmaster(data_dir: Path) -> Postmaster | None:
    """Return what postmaster.pid says; None when it is missing or half-written."""
    try:
        lines = (data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        status = lines[7].strip() if len(lines) > 7 else ""
        return Postmaster(int(lines[0]), Path(lines[4]), status == "ready")
    except (OSError, ValueError, IndexError):
        return None


def is_server_of(pid: int, data_dir: Path) -> bool:
    """Tell whether process `pid` is a PostgreSQL process of `data_dir`.

    Every one of them works in its data directory, given here without symbolic links, which tells
    it from a stranger that was given the number of a dead one.
    """
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == data_dir
    except FileNotFoundError:
        # No such process, or a system without /proc, where the number has to do.
        return not can_list() and _exists(pid)
    except OSError:
        return False


def servers_of(data_dir: Path) -> Iterator[int]:
    """Yield every process that works in `data_dir`, backends of a killed server included."""
    for entry in Path("/proc").glob("[0-9]*"):
        if is_server_of(int(entry.name), data_dir):
            yield int(entry.name)


def runs_program(pid: int, program: str) -> bool:
    """Tell whether process `pid` was started from the file `program`."""
    try:
        return Path(f"/proc/{pid}/exe").samefile(program)
    except OSError:
        return False


def can_list() -> bool:
    """Tell whether this system shows its processes, without which nothing may be concluded."""
    return Path("/proc/self").exists()


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
