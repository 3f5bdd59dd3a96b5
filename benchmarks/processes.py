"""What processes have used, read from /proc."""

from __future__ import annotations

import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """Return the processor time of one process, threads and ended children included."""
    fields = _stat(pid)
    return sum(int(each) for each in fields[11:15]) / _TICK


def tree_cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and all its children, alive or ended.

    For PostgreSQL: the postmaster, its backends and its workers.
    """
    return cpu_seconds(pid) + sum(cpu_seconds(child) for child in _children(pid))


def memory_bytes(pid: int | str = "self") -> int:
    """Return the resident memory of one process."""
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * _PAGE


def peak_memory_bytes(pid: int) -> int:
    """Return the most resident memory that one process has had."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def tree_memory_bytes(pid: int) -> int:
    """Return the memory of a process and its children; what they share counts once."""
    return _proportional_bytes(pid) + sum(_proportional_bytes(each) for each in _children(pid))


def _proportional_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return 0  # ended meanwhile
    sizes = [int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")]
    return sum(sizes) * 1024


def _stat(pid: int) -> list[str]:
    """Return the fields after the command, which may hold blanks and brackets itself."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ["0"] * 22  # ended meanwhile: its time is with its parent's
    return text.rpartition(")")[2].split()


def _children(pid: int) -> list[int]:
    pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
    return [each for each in pids if _stat(each)[1] == str(pid)]
