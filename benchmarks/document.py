"""The one JSON document that a run of the benchmarks is."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.protocol import Figures

ROOT = Path(__file__).parents[1]
INSULA = "insula"
LEFT_OUT = "left out: the time of the run was over"
"""Instead of an error, of a case that was not begun."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What one process measured, or why it did not."""

    subject: str
    case: str
    round: int
    figures: Figures = {}
    error: str = ""
    seconds: float = 0.0
    """Of the clock, its set-up included."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One case of one subject over all rounds: medians, and how far apart the rounds were."""

    subject: str
    case: str
    median: Figures = {}
    least: Figures = {}
    most: Figures = {}
    rounds: int
    errors: list[str] = []
    seconds: float = 0.0
    """Of the clock, that a round took on average, the set-up included."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A target and what came of it; `met` is None when what it needs was not measured.

    `ratio` is how good it is beside what was wanted: 2.0 is twice as good, and 1.0 just meets it.
    """

    target: str
    wanted: float
    found: float | None
    ratio: float | None = None
    met: bool | None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that somebody needs who wants to believe it or to do it again."""

    date: str
    commit: str
    quick: bool
    rounds: int
    machine: dict[str, Any]
    postgresql: dict[str, Any]
    versions: dict[str, str]
    results: list[Summary]
    targets: list[Verdict] = []
    missing: dict[str, str] = {}
    """Peers that could not be installed here, and why."""

    changes: dict[str, float] = {}
    """Ratios to the baseline, 2.0 is twice as good; the machine's own speed taken out."""

    seconds: float = 0.0
    """Of the clock, for all of it but what is installed before."""

    whole: bool = True
    """False: it was broken off, and these are the results until then."""

    def median(self, case: str, figure: str, subject: str = INSULA) -> float | None:
        """Return one median, None when it was not measured."""
        for each in self.results:
            if (each.subject, each.case) == (subject, case):
                return each.median.get(figure)
        return None


def summaries(measured: Iterable[Measured]) -> list[Summary]:
    """Return one summary for each case of each subject, in the order they came first."""
    by_case: defaultdict[tuple[str, str], list[Measured]] = defaultdict(list)
    for each in measured:
        by_case[each.subject, each.case].append(each)
    return [_summary(subject, case, several) for (subject, case), several in by_case.items()]


def _summary(subject: str, case: str, several: list[Measured]) -> Summary:
    values: defaultdict[str, list[float]] = defaultdict(list)
    for each in several:
        for name, value in each.figures.items():
            values[name].append(value)
    return Summary(
        subject=subject,
        case=case,
        median={name: statistics.median(found) for name, found in values.items()},
        least={name: min(found) for name, found in values.items()},
        most={name: max(found) for name, found in values.items()},
        rounds=sum(not each.error for each in several),
        errors=[each.error for each in several if each.error],
        seconds=round(statistics.fmean(each.seconds for each in several), 1),
    )


def commit() -> str:
    """Return the commit that is measured, with a + when files have changed since."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def machine() -> dict[str, Any]:
    """Return what this was measured on."""
    information = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in information if "model name" in line]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }
