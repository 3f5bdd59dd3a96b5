"""The readable form of a document: tables for people, on a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from benchmarks.compare import WORSE
from benchmarks.document import Document
from benchmarks.plan import CASES, PEER_CASES

WIDE = 120
"""Columns of the tables where nobody says how many there are."""

TOTALS = {"client_cpu_seconds", "process_cpu_seconds", "server_cpu_seconds", "commits"}
"""Only in the JSON document: the table has them by run or step."""

TITLES = {case.name: case.title for case in (*PEER_CASES, *CASES)}


def show(document: Document, console: Console) -> None:
    """Print where it was measured, what was found, what changed and which targets are met."""
    machine, server = document.machine, document.postgresql
    console.print(
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"Python {machine['python']}, load before {machine['load_before']}"
    )
    console.print(
        f"PostgreSQL {server['version']} on {server['file_system']}, "
        f"fdatasync {server['fdatasync_us']:.0f} us; "
        + ", ".join(f"{name}={value}" for name, value in server["settings"].items())
    )
    if server["file_system"] in {"tmpfs", "ramfs"}:
        console.print("[bold red]the data is in memory: set TMPDIR to a directory on a disk")
    console.print(_results(document))
    if document.changes:
        console.print(_changes(document.changes))
    else:
        console.print("there is no baseline to compare with: --save makes this run the baseline")
    console.print(_targets(document))


def _results(document: Document) -> Table:
    table = Table(title="medians of the rounds", title_justify="left")
    for name in ("case", "of", "figure", "median", "least", "most", "rounds"):
        words = {"case", "of", "figure"}
        table.add_column(name, justify="left" if name in words else "right")
    for each in document.results:
        case = f"{each.case} {TITLES.get(each.case, '')}"
        for error in each.errors:
            table.add_row(case, each.subject, "[red]failed", error[:200], "", "", "")
        for name, value in each.median.items():
            if name in TOTALS:
                continue
            spread = (number(each.least[name]), number(each.most[name]))
            table.add_row(case, each.subject, name, number(value), *spread, str(each.rounds))
            case = ""
        table.add_section()
    return table


def _changes(changes: Mapping[str, float]) -> Table:
    table = Table(title="against the baseline, 2.0 is twice as good", title_justify="left")
    table.add_column("figure")
    table.add_column("ratio", justify="right")
    for name, ratio in changes.items():
        table.add_row(name, f"[red]{ratio:.2f}" if ratio < WORSE else f"{ratio:.2f}")
    return table


def _targets(document: Document) -> Table:
    table = Table(title="targets", title_justify="left")
    for name in ("target", "wanted", "found", "ratio", "met"):
        table.add_column(name, justify="left" if name == "target" else "right")
    for each in document.targets:
        met = {True: "[green]yes", False: "[red]no", None: "not measured"}[each.met]
        found = "" if each.found is None else number(each.found)
        ratio = "" if each.ratio is None else f"{each.ratio:.2f}"
        table.add_row(each.target, number(each.wanted), found, ratio, met)
    return table


def number(value: float) -> str:
    """Return a figure with as many digits as it is good for.

    >>> number(12345.678), number(3.14159), number(0.00512)
    ('12,346', '3.14', '0.00512')
    """
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
