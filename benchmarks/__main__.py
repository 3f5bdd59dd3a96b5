"""Measure Insula, and its peers, on a PostgreSQL server started for it.

    python -m benchmarks --only A,B --rounds 3
    python -m benchmarks --peers --budget 17

One JSON document on stdout; what goes on, and a table, on stderr. Each document is also kept in
.bench/history.jsonl, and so is what a run has measured that is broken off.
"""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from benchmarks import compare, table
from benchmarks.document import INSULA, Document, Measured, Summary, commit, machine, summaries
from benchmarks.harness import Harness, insula
from benchmarks.peers import install
from benchmarks.plan import CASES, PEER_CASES, chosen
from benchmarks.schedule import Subject, Timetable, planned
from benchmarks.server import running
from benchmarks.targets import verdicts
from orchestrator.model.version import version

Only = Annotated[str, typer.Option(help="Cases by letter or name, such as A,D100.")]
Of = Annotated[str, typer.Option(help="Subjects by name, such as insula,dbos; all without it.")]
Quick = Annotated[bool, typer.Option(help="Very little of each: does it work?")]
Rounds = Annotated[int, typer.Option(min=1, help="Medians of so many rounds at most.")]
Budget = Annotated[
    float | None, typer.Option(min=0, help="Minutes; what does not fit into them is left out.")
]
Peers = Annotated[bool, typer.Option(help="The peers' cases, each peer's and Insula's in turns.")]
Save = Annotated[bool, typer.Option(help="Make this the baseline that later ones are compared to.")]


def main(  # noqa: PLR0913 - the options of a command
    only: Only = "", *, of: Of = "", quick: Quick = False, rounds: Rounds = 3,
    budget: Budget = None, peers: Peers = False, save: Save = False,
) -> None:  # fmt: skip
    """Measure, print, compare, remember."""
    console = Console(stderr=True, soft_wrap=True)
    if not console.is_terminal:
        console.width = table.WIDE
    try:
        cases = chosen(only, PEER_CASES if peers else CASES)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if save and quick:
        raise typer.BadParameter("--quick measures too little to compare anything with it")
    wanted = {name.strip() for name in of.split(",") if name.strip()}
    found, missing = install.subjects(cases, console, wanted) if peers else ([], {})
    subjects = [*([insula(cases)] if not wanted or INSULA in wanted else []), *found]
    compare.recover()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    document = measure(subjects, console, quick=quick, rounds=rounds, budget=budget)
    document = _judged(msgspec.structs.replace(document, missing=missing))
    table.show(document, console)
    compare.remember(document)
    compare.UNDER_WAY.unlink(missing_ok=True)
    if save and document.whole:
        compare.write_baseline(document)
    print(msgspec.json.format(msgspec.json.encode(document), indent=1).decode())
    if not document.whole or any(each.errors for each in document.results if _ours(each)):
        raise typer.Exit(1)


def measure(
    subjects: list[Subject], console: Console, *, quick: bool, rounds: int, budget: float | None
) -> Document:
    """Return the document of all subjects' cases, or of those until it was broken off."""
    steps, began = planned(subjects, rounds), time.monotonic()
    with running() as (server, directory):
        document = Document(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=commit(),
            quick=quick,
            rounds=rounds,
            machine=machine(),
            postgresql=server.describe(),
            versions={"insula": version(), **install.versions(subjects)},
            results=[],
            whole=False,
        )
        timetable = Timetable(
            steps,
            budget=None if budget is None else 60 * budget,
            before=compare.seconds(compare.history()),
        )
        harness = Harness(server, directory, quick=quick, said=lambda line: _say(console, line))
        measured: list[Measured] = []
        try:
            for each in harness.measure(steps, timetable):
                measured.append(each)
                if each.error:
                    _say(console, f"    {each.subject} {each.case}: {each.error}")
                document = msgspec.structs.replace(
                    document,
                    results=summaries(measured),
                    seconds=round(time.monotonic() - began, 1),
                )
                compare.keep(document)
        except KeyboardInterrupt:
            _say(console, "broken off: this is what was measured until then")
            return document
    return msgspec.structs.replace(document, whole=True)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False)


def _ours(summary: Summary) -> bool:
    return summary.subject == INSULA


def _judged(document: Document) -> Document:
    baseline = compare.read_baseline()
    changes = compare.changes(document, baseline) if baseline is not None else {}
    return msgspec.structs.replace(document, targets=verdicts(document), changes=changes)


if __name__ == "__main__":
    typer.run(main)
