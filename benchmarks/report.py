"""Write the newest figures of this machine into docs/explanation/performance.md.

    python -m benchmarks.report

What it writes stands between two comments; the rest of the page is written by people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from benchmarks import compare, life_table
from benchmarks.document import INSULA, LEFT_OUT, Document, Summary, Verdict
from benchmarks.page import cell, origin, replaced, table
from benchmarks.table import TITLES, TOTALS, number

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "performance.md"
BEGIN, END = "<!-- figures: written by python -m benchmarks.report -->", "<!-- figures: end -->"

BESIDE = {
    "A submitted, runs/s": ("A", "submit_runs_per_s"),
    "A run after that, runs/s": ("A", "run_runs_per_s"),
    "A both together, runs/s": ("A", "runs_per_s"),
    "A client CPU, us a run": ("A", "client_cpu_us_per_run"),
    "A server CPU, us a run": ("A", "server_cpu_us_per_run"),
    "A commits a run": ("A", "commits_per_run"),
    "B durable steps/s, chains of 5": ("B", "steps_per_s"),
    "B client CPU, us a step": ("B", "client_cpu_us_per_step"),
    "B server CPU, us a step": ("B", "server_cpu_us_per_step"),
    "B commits a step": ("B", "commits_per_step"),
    "C submit to start, p50 ms": ("C", "p50_ms"),
    "C submit to start, p95 ms": ("C", "p95_ms"),
    "C submit to start, p99 ms": ("C", "p99_ms"),
    "D 20 tenants, runs/s": ("D20", "runs_per_s"),
    "D 100 tenants, runs/s": ("D100", "runs_per_s"),
    "E kill -9 with 50 in flight until all are started again, s": ("E50", "kill_to_last_resumed_s"),
}
"""The rows of the table beside the peers."""


class NothingMeasured(Exception):
    """There is no run of the benchmarks that a page could be made from."""


def newest(documents: Sequence[Document], *, peers: bool) -> Document | None:
    """Return the newest run with the peers, or of Insula alone; never a quick one.

    One that was broken off will do when it has A, B and L.
    """
    fitting = [each for each in documents if not each.quick and _has_peers(each) == peers]
    enough = [each for each in fitting if {"A", "B", "L"} <= {r.case for r in each.results}]
    return enough[-1] if enough else None


def rewritten(page: str, alone: Document | None, beside: Document | None) -> str:
    """Return the page with the figures of both runs in their place.

    Raises NothingMeasured, or ValueError for a page without the two comments.
    """
    if alone is None and beside is None:
        raise NothingMeasured("there is no whole run in .bench: make bench, make bench-peers")
    return replaced(page, BEGIN, END, _sections(alone, beside))


def _sections(alone: Document | None, beside: Document | None) -> Iterator[str]:
    if beside is not None:
        yield "### Beside the peers\n"
        yield from _origin(beside, "make bench-peers")
        yield from _peers(beside)
    if alone is not None:
        yield "### Insula alone, and the limits of the machine\n"
        yield from _origin(alone, "make bench")
        yield from _alone(alone)
    yield "### Targets\n"
    yield from _targets([each for each in (alone, beside) if each is not None])


def _origin(document: Document, command: str) -> Iterator[str]:
    yield origin(document)
    rounds = ", ".join(
        f"{number} of {' '.join(cases)}" for number, cases in _rounds(document).items()
    )
    broken = "" if document.whole else " It was broken off, and this is what it has of all cases."
    yield (
        f"Medians of the rounds: {rounds}. It took {document.seconds / 60:.0f} minutes; to repeat "
        f"it: `{command}`.{broken}\n"
    )


def _rounds(document: Document) -> dict[int, list[str]]:
    """Return the cases by how many rounds of them there were, most first."""
    rounds: dict[str, int] = {}
    for each in document.results:
        rounds[each.case] = max(rounds.get(each.case, 0), each.rounds)
    return {
        number: [case for case, count in rounds.items() if count == number]
        for number in sorted(set(rounds.values()), reverse=True)
    }


def _peers(document: Document) -> Iterator[str]:
    subjects = list(dict.fromkeys(each.subject for each in document.results))
    yield from table(
        ["", *subjects],
        (
            [title, *(_beside(document, case, name, each) for each in subjects)]
            for title, (case, name) in BESIDE.items()
        ),
    )
    yield (
        "`-` is what a library does not have or was not asked for, `>` a time after which it had "
        "not come to its end; of what failed or was left out the reason stands below.\n"
    )
    for case, name, title in (("A", "runs_per_s", "A, runs"), ("B", "steps_per_s", "B, steps")):
        ratios = [
            f"{ours / theirs:.1f} times as many as {each}"
            for each in subjects
            if each != INSULA
            and (ours := document.median(case, name))
            and (theirs := document.median(case, name, each))
        ]
        if ratios:
            yield f"{title} a second: {', '.join(ratios)}.\n"
    reasons: dict[str, list[str]] = {}
    for each in document.results:
        for error in each.errors[:1]:
            reasons.setdefault(error, []).append(f"{each.subject} {each.case}")
    for error, failed in reasons.items():
        yield f"{', '.join(failed)}: {error}\n"
    for name, why in document.missing.items():
        yield f"{name} could not be installed on that machine: {why}\n"


def _beside(document: Document, case: str, name: str, subject: str) -> str:
    value = document.median(case, name, subject)
    if value is None:
        errors = [
            error
            for each in document.results
            if (each.subject, each.case) == (subject, case)
            for error in each.errors
        ]
        return "-" if not errors else "left out" if LEFT_OUT in errors else "failed"
    more = "> " if document.median(case, "still_waiting", subject) else ""
    return more + number(value)


def _alone(document: Document) -> Iterator[str]:
    ours = [each for each in document.results if each.subject == INSULA]
    yield from table(
        ["", "figure", "median", "least", "most"], (row for each in ours for row in _rows(each))
    )


def _rows(summary: Summary) -> Iterator[list[str]]:
    title = f"{summary.case} {TITLES.get(summary.case, '')}"
    for error in summary.errors:
        yield [title, "failed", error, "", ""]
    for name, value in summary.median.items():
        if name not in TOTALS:
            spread = (number(summary.least[name]), number(summary.most[name]))
            yield [title, _words(name), number(value), *spread]
            title = ""


def _targets(documents: Sequence[Document]) -> Iterator[str]:
    verdicts: dict[str, Verdict] = {}
    for document in documents:
        for each in document.targets:
            if each.target not in verdicts or verdicts[each.target].met is None:
                verdicts[each.target] = each
    words = {True: "yes", False: "**no**", None: "not measured"}
    yield from table(
        ["", "wanted", "found", "of what was wanted", "met"],
        (
            [
                each.target,
                number(each.wanted),
                cell(each.found),
                "-" if each.ratio is None else f"{each.ratio:.2f}",
                words[each.met],
            ]
            for each in verdicts.values()
        ),
    )


def _words(name: str) -> str:
    return re.sub(r"_per_s(?=_|$)", "/s", name).replace("_", " ")


def _has_peers(document: Document) -> bool:
    return any(each.subject != INSULA for each in document.results)


def main() -> None:
    """Write the page: of what there is, each part anew."""
    documents = compare.history()
    alone, beside = newest(documents, peers=False), newest(documents, peers=True)
    life, page = life_table.newest(), PAGE.read_text(encoding="utf-8")
    if life is not None:
        page = replaced(page, life_table.BEGIN, life_table.END, life_table.section(life))
    if life is None or alone is not None or beside is not None:
        page = rewritten(page, alone, beside)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
