"""What the life of many tenants has cost, as tables: on a terminal, and for the documentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.compare import HISTORY
from benchmarks.life import LifeDocument, Phase
from benchmarks.page import origin, table
from benchmarks.table import number

KEPT = HISTORY.with_name("tenants.jsonl")
BEGIN, END = "<!-- tenants: written by python -m benchmarks.report -->", "<!-- tenants: end -->"
TARGET_MS = 60.0
"""The median of a provisioning with all the others present."""

_COLUMNS = {
    "tenants": "tenants",
    "seconds": "s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "first_tenth_ms": "first tenth ms",
    "last_tenth_ms": "last tenth ms",
    "cpu_ms": "CPU ms",
    "database_mb": "database MB",
    "catalogs_mb": "catalogs MB",
    "daemon_mb": "daemon MB",
    "daemon_peak_mb": "peak MB",
    "server_mb": "server MB",
}


def show(document: LifeDocument, console: Console) -> None:
    """Print what was measured."""
    shown = Table(title="the life of a tenant, one after the other", title_justify="left")
    shown.add_column("", no_wrap=True)
    for title in _COLUMNS.values():
        shown.add_column(title, justify="right")
    for row in map(_row, document.phases):
        shown.add_row(*row)
    console.print(shown)
    for line in _facts(document):
        console.print(line, markup=False, highlight=False)


def remember(document: LifeDocument, path: Path = KEPT) -> None:
    """Keep a whole run for the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(msgspec.json.encode(document) + b"\n")


def newest(path: Path = KEPT) -> LifeDocument | None:
    """Return the run that was kept last."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    return msgspec.json.decode(lines[-1], type=LifeDocument) if lines else None


def section(document: LifeDocument) -> Iterator[str]:
    """Yield the lines of the documentation."""
    yield origin(document)
    yield from table(["", *_COLUMNS.values()], map(_row, document.phases))
    for fact in _facts(document):
        yield f"- {fact}"
    yield ""


def _row(phase: Phase) -> Sequence[str]:
    cells = [number(getattr(phase, name)) for name in _COLUMNS]
    if phase.tenants < phase.of:
        cells[0] = f"{phase.tenants:,} of {phase.of:,}"
    return [phase.verb, *cells]


def _facts(document: LifeDocument) -> Iterator[str]:
    phases = {phase.verb: phase for phase in document.phases}
    if (made := phases.get("provision")) is not None:
        met = "met" if made.last_tenth_ms <= TARGET_MS else "missed"
        yield (
            f"The target of {TARGET_MS:g} ms for a provisioning with nearly all the others "
            f"present is {met}: {number(made.last_tenth_ms)} ms."
        )
    if document.start_with_all_seconds is not None:
        yield f"The daemon starts with all of them in {document.start_with_all_seconds:g} s."
    if document.migrate_together_seconds is not None:
        yield (
            f"All are migrated by one request, four at a time, in "
            f"{document.migrate_together_seconds:g} s."
        )
    if document.archives_mb is not None:
        yield f"The archives take {number(document.archives_mb)} MB."
    if document.left is not None:
        found = ", ".join(f"{count} {what}" for what, count in document.left.items())
        yield f"What the server has of tenants when all are deleted: {found}."
    if (found_all := document.listed) is not None:
        yield (
            f"{found_all['tenants']:,.0f} tenants are listed in "
            f"{number(found_all['client_p50_ms'])} ms by the client, in "
            f"{number(found_all['command_p50_ms'])} ms by the command; in "
            f"figures in {number(found_all['figures_client_p50_ms'])} and "
            f"{number(found_all['figures_command_p50_ms'])} ms."
        )
    whole = "" if document.whole else " It was broken off, or its time did not suffice."
    yield (
        f"It took {document.seconds / 60:.0f} minutes; to repeat it: `make bench-tenants`.{whole}"
    )
