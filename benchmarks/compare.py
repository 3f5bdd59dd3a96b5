"""Against the committed baseline, and the history of one's own machine.

A figure is compared with the baseline's as a ratio, after the machine's own speed, as the limits
(L) of both runs tell it, has been taken out: another machine gives about the same ratios.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.document import INSULA, Document, Summary

BASELINE = Path(__file__).with_name("baseline.json")
HISTORY = Path(__file__).parents[1] / ".bench" / "history.jsonl"
UNDER_WAY = HISTORY.with_name("under_way.json")

WORSE = 0.8
"""Below this ratio a figure is shown as worse: less is what two rounds differ by anyway."""

COMPARED = {
    "A": ("submit_runs_per_s", "run_runs_per_s", "runs_per_s"),
    "B": ("steps_per_s", "steps_per_s_50_in_flight", "steps_per_s_1_in_flight", "calls_per_s"),
    "C": ("p50_ms", "p99_ms"),
    "D": ("runs_per_s",),
    "E": ("kill_to_last_resumed_s",),
    "F": ("daemon_cpu_percent", "daemon_memory_mb"),
    "G": ("runs_per_s", "run_runs_per_s"),
    "H": ("seconds",),
    "I": ("runs_per_s",),
}
"""What is compared of each work; all else explains it."""

_SIZES = ("daemon_memory_mb",)
"""What no machine's speed changes."""


def changes(document: Document, baseline: Document) -> dict[str, float]:
    """Return, for each figure in both, how much better it is now: 2.0 is twice as good.

    >>> changes(now, baseline)  # doctest: +SKIP
    {'A runs_per_s': 1.31, 'C p50_ms': 0.98}
    """
    speed = _speed(document, baseline)
    found = {}
    for case, name, value in _figures(document.results):
        before = baseline.median(case, name)
        if before and value:
            rate = name.endswith("_per_s")
            ratio = value / before if rate else before / value
            found[f"{case} {name}"] = ratio if name in _SIZES else ratio / speed
    return found


def _figures(results: list[Summary]) -> list[tuple[str, str, float]]:
    ours = [each for each in results if each.subject == INSULA]
    return [
        (each.case, name, each.median[name])
        for each in ours
        for name in COMPARED.get(each.case[0], ())
        if name in each.median
    ]


def _speed(document: Document, baseline: Document) -> float:
    """Return how much faster this machine is: the median over the limits of both, 1.0 without."""
    limits = [each.median for each in document.results if each.case == "L"]
    ratios = [
        value / before
        for name, value in (limits[0] if limits else {}).items()
        if name.endswith("in_flight") and (before := baseline.median("L", name))
    ]
    return statistics.median(ratios) if ratios else 1.0


def read_baseline(path: Path = BASELINE) -> Document | None:
    """Return the committed baseline, None when there is none."""
    return msgspec.json.decode(path.read_bytes(), type=Document) if path.exists() else None


def write_baseline(document: Document, path: Path = BASELINE) -> None:
    """Make this document what later ones are compared with."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")


def remember(document: Document, path: Path = HISTORY) -> None:
    """Add the document to the history, one line each, which stays on this machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(msgspec.json.encode(document) + b"\n")


def keep(document: Document, path: Path = UNDER_WAY) -> None:
    """Keep what a run has measured so far, should it be killed: `recover` finds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(document))
    new.replace(path)


def recover(path: Path = UNDER_WAY, to: Path = HISTORY) -> None:
    """Add what a killed run has left behind to the history."""
    if path.exists():
        remember(msgspec.json.decode(path.read_bytes(), type=Document), to)
        path.unlink()


def seconds(documents: Sequence[Document]) -> dict[tuple[str, str], float]:
    """Return what each subject's each case took when it was measured last, by its round."""
    return {
        (each.subject, each.case): each.seconds
        for document in documents
        if not document.quick
        for each in document.results
        if each.seconds
    }


def history(path: Path = HISTORY) -> list[Document]:
    """Return all documents of this machine, oldest first."""
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=Document) for line in path.read_bytes().splitlines()]
