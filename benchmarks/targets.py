"""What Insula is meant to reach, as ratios within one run wherever a ratio says it.

A pure function of a document: the same figures give the same verdicts on any day.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from benchmarks.document import INSULA, Document, Verdict


class Figure(msgspec.Struct, frozen=True):
    """Where a figure is found."""

    case: str
    name: str
    subject: str = INSULA


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """`figure`, or with `over` its ratio to another, is at least or at most `bound`."""

    text: str
    figure: Figure
    bound: float
    over: Figure | None = None
    at_most: bool = False


A, B = Figure("A", "runs_per_s"), Figure("B", "steps_per_s")


def _peer(text: str, figure: Figure, subject: str, bound: float) -> Target:
    over = Figure(figure.case, figure.name, subject)
    return Target(text=text, figure=figure, over=over, bound=bound)


TARGETS = (
    Target(text="A: runs/s, submitted and run together", figure=A, bound=4_000),
    _peer("A: times dbos", A, "dbos", 40),
    _peer("A: times cloaca", A, "cloaca", 40),
    _peer("A: times absurd", A, "absurd", 8),
    _peer("A: times pgqueuer", A, "pgqueuer", 0.8),
    Target(text="B: steps/s", figure=B, bound=10_000),
    _peer("B: times dbos", B, "dbos", 60),
    _peer("B: times cloaca", B, "cloaca", 60),
    _peer("B: times absurd", B, "absurd", 10),
    Target(
        text="B: of the bare journal, 1,000 in flight", figure=B, bound=0.25,
        over=Figure("L", "journal_steps_per_s_1000_in_flight"),
    ),
    Target(text="C: p50, ms", figure=Figure("C", "p50_ms"), bound=3, at_most=True),
    Target(text="C: p99, ms", figure=Figure("C", "p99_ms"), bound=10, at_most=True),
    Target(text="D: 100 tenants, of A", figure=Figure("D100", "runs_per_s"), over=A, bound=0.6),
    Target(text="D: 500 tenants, of A", figure=Figure("D500", "runs_per_s"), over=A, bound=0.3),
    Target(
        text="E: kill -9 to all resumed, s", figure=Figure("E", "kill_to_last_resumed_s"),
        bound=2, at_most=True,
    ),
    Target(
        text="G: with a million finished runs, of 10 thousand", figure=Figure("G1M", "runs_per_s"),
        over=Figure("G10k", "runs_per_s"), bound=0.9,
    ),
    Target(text="H: seconds", figure=Figure("H", "seconds"), bound=3, at_most=True),
)  # fmt: skip


def verdicts(document: Document) -> list[Verdict]:
    """Return what came of every target."""
    return list(_verdicts(document))


def _verdicts(document: Document) -> Iterator[Verdict]:
    for target in TARGETS:
        found = _value(document, target.figure)
        if target.over is not None and found is not None:
            under = _value(document, target.over)
            found = found / under if under else None
        ratio = None
        if found:
            ratio = target.bound / found if target.at_most else found / target.bound
        met = None if ratio is None else ratio >= 1
        yield Verdict(target=target.text, wanted=target.bound, found=found, ratio=ratio, met=met)


def _value(document: Document, figure: Figure) -> float | None:
    return document.median(figure.case, figure.name, figure.subject)
