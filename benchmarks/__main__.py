"""Measure Insula, and its peers, on a PostgreSQL server started for it.

    python -m benchmarks --only A,B --rounds 3
    python -m benchmarks --peers

One JSON document on stdout, a table on stderr; each document is also kept in .bench/history.jsonl.
"""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import compare, table
from benchmarks.document import Document, machine, summaries
from benchmarks.harness import ROOT, Harness, Subject, insula
from benchmarks.peers import install
from benchmarks.plan import CASES, chosen
from benchmarks.server import running
from benchmarks.targets import verdicts
from orchestrator.model.version import version

WIDE = 120
"""Columns of the tables where nobody says how many there are."""

Only = Annotated[str, typer.Option(help="Cases by letter or name, such as A,D100.")]
Quick = Annotated[bool, typer.Option(help="Very little of each: does it work?")]
Rounds = Annotated[int, typer.Option(min=1, help="Medians of so many rounds.")]
Peers = Annotated[bool, typer.Option(help="The peers' cases, each peer's and Insula's in turns.")]
Save = Annotated[bool, typer.Option(help="Make this the baseline that later ones are compared to.")]


def main(
    only: Only = "", *, quick: Quick = False, rounds: Rounds = 3, peers: Peers = False,
    save: Save = False,
) -> None:  # fmt: skip
    """Measure, print, compare, remember."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.width = WIDE
    try:
        cases = chosen(only, install.CASES if peers else CASES)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    found, missing = install.subjects(cases, console) if peers else ([], {})
    subjects = [insula(cases), *found]
    document = measure(subjects, console, quick=quick, rounds=rounds)
    document = _judged(msgspec.structs.replace(document, missing=missing))
    table.show(document, console)
    compare.remember(document)
    if save:
        compare.write_baseline(document)
    print(msgspec.json.format(msgspec.json.encode(document), indent=1).decode())
    if any(each.errors for each in document.results if each.subject == "insula"):
        raise typer.Exit(1)


def measure(subjects: list[Subject], console: Console, *, quick: bool, rounds: int) -> Document:
    """Return the document of all subjects' cases, without a verdict yet."""
    steps = sum(len(subject.cases) for subject in subjects) * rounds
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with running() as (server, directory), Progress(*columns, console=console) as progress:
        task = progress.add_task("PostgreSQL has started", total=steps, completed=-1)

        def said(what: str) -> None:
            progress.update(task, advance=1, description=what)

        versions = {"insula": version(), **install.versions(subjects)}
        where, postgresql = machine(), server.describe()
        measured = Harness(server, directory, quick=quick, said=said).measure(subjects, rounds)
        progress.update(task, completed=steps, description="done")
    return Document(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        quick=quick,
        rounds=rounds,
        machine=where,
        postgresql=postgresql,
        versions=versions,
        results=summaries(measured),
    )


def _judged(document: Document) -> Document:
    baseline = compare.read_baseline()
    changes = compare.changes(document, baseline) if baseline is not None else {}
    return msgspec.structs.replace(document, targets=verdicts(document), changes=changes)


def _commit() -> str:
    """Return the commit that is measured, with a + when files have changed since."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    typer.run(main)
