"""Pages of the documentation with a part that a command writes, between two comments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.document import Document
from benchmarks.life import LifeDocument
from benchmarks.table import number


def replaced(page: str, begin: str, end: str, text: Iterable[str]) -> str:
    """Return the page with `text`, lines, between the two comments; ValueError without them."""
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page has not both {begin} and {end}")
    lines = "\n".join(text)
    return f"{before}{begin}\n\n{lines}\n{end}{after}"


def origin(document: Document | LifeDocument) -> str:
    """Return where, and of what, this was measured."""
    machine, server = document.machine, document.postgresql
    settings = ", ".join(f"{name} {value}" for name, value in server["settings"].items())
    versions = ", ".join(f"{name} {version}" for name, version in document.versions.items())
    return (
        f"{document.date[:10]}, commit {document.commit}: {machine['processor']}, "
        f"{machine['cores']} cores for the client and the server together, "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}, Python {machine['python']}, "
        f"load {machine['load_before']} before. PostgreSQL {server['version']} on "
        f"{server['file_system']}, fdatasync {server['fdatasync_us']:.0f} us; {settings}. "
        f"{versions}.\n"
    )


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; all columns but the first are figures."""
    yield _line(titles)
    yield _line(["---", *["---:"] * (len(titles) - 1)])
    for row in rows:
        yield _line([cell.replace("|", "/").replace("\n", " ") for cell in row])
    yield ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def cell(value: float | None) -> str:
    """Return a figure for a cell, `-` for none."""
    return "-" if value is None else number(value)
