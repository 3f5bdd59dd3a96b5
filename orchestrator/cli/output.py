"""What the commands print: results on stdout, everything for people on stderr."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import typer

from orchestrator.model.errors import ConfigError, InsulaError, StartError
from orchestrator.model.text import block, in_json, one_line

_STYLES = {
    "succeeded": "green",
    "awake": "green",
    "running": "cyan",
    "failed": "red",
    "dead": "red",
    "quarantined": "red",
    "blocked": "yellow",
    "retrying": "yellow",
}


_WHOLE = 40
"""A cell of so many characters stays on one line: an id that is broken over two is none to copy."""

_GAP = 2
"""Spaces between columns."""

_UNITS = ("KiB", "MiB", "GiB")


def document(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(pretty(value))


def pretty(value: Any) -> str:
    """Return JSON over several lines."""
    return in_json(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode())


def compact(value: Any) -> str:
    """Return JSON on one line."""
    return in_json(msgspec.json.encode(value, enc_hook=str).decode())


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows: drawn on a terminal, plain aligned columns elsewhere."""
    cells = [[line(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        _draw(headings, cells)
        return
    # Whole cells, however long: a script would not know that one was cut.
    everything = [list(headings), *cells]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    for row in everything:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())


def _draw(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.cells import cell_len  # noqa: PLC0415 - only a terminal needs what draws
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    widths = [max(map(cell_len, column)) for column in zip(headings, *rows, strict=True)]
    for heading, width in zip(headings, widths, strict=True):
        drawn.add_column(heading, overflow="fold", no_wrap=width <= _WHOLE)
    for row in rows:
        drawn.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
    # Where even that does not fit, the terminal breaks the lines, which leaves them whole to copy.
    console = Console()
    console.width = max(console.width, sum(min(width, _WHOLE) + _GAP for width in widths))
    console.print(drawn)


def fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line, leaving out what has no value."""
    shown = [(name, line(value)) for name, value in pairs]
    kept = [(name, value) for name, value in shown if value]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        typer.echo(f"{name.ljust(width)}  {value}")


def say(text: str) -> None:
    """Tell people something, on stderr."""
    typer.echo(block(text), err=True)


def complain(error: InsulaError) -> None:
    """Print an error of ours on stderr: a line for each of its problems, and the hint."""
    problems = error.data.get("problems") if isinstance(error, ConfigError) else None
    details: list[str] = []
    if isinstance(error, StartError):  # the log of a server that did not start goes on below
        sentence, *details = str(error).split("\n")
        problems = [sentence]
    for sentence in problems or [str(error)]:
        say(_error_line(error.code, sentence))
    for each in details:
        say(f"  {line(each)}")
    if error.hint:
        say(f"hint: {line(error.hint)}")


def error(code: str, sentence: str, *, hint: str) -> None:
    """Print an error that only the command line has."""
    say(_error_line(code, sentence))
    if hint:
        say(f"hint: {line(hint)}")


def line(value: object) -> str:
    """Return a value as one line of text; control characters are spelled, not obeyed."""
    match value:
        case None:
            text = ""
        case bool():
            text = "yes" if value else "no"
        case datetime():
            text = value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        case timedelta():
            text = _length(value)
        case list() | tuple():
            text = ", ".join(line(item) for item in value)
        case dict():
            text = ", ".join(f"{key} {line(item)}" for key, item in value.items())
        case _:
            text = str(value)
    return one_line(text)


def size(count: float) -> str:
    """Return bytes as people read them.

    >>> size(471040)
    '460.0 KiB'
    """
    if count < 1024:
        return f"{count:.0f} bytes"
    step = min(int(math.log(count, 1024)), len(_UNITS))
    return f"{count / 1024**step:.1f} {_UNITS[step - 1]}"


def _error_line(code: str, sentence: str) -> str:
    return f"error[{code}]: {line(sentence)}"


def _length(time: timedelta) -> str:
    seconds = time.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
