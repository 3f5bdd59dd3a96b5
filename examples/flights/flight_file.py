"""Reads a gzipped CSV of a month's flights in pieces, and says what is wrong with a bad one."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TextIO, TypeVar

from orchestrator import Fail

LINES_PER_CHUNK = 2_000
"""How many lines are in memory at a time, whatever the size of the file."""

LONGEST_LINE = 10_000
"""A line of the real files has some 110 characters; what is far longer is not such a file."""

NOT_RECORDED = "NA"

LONGEST_CODE = 20
"""Codes of carriers and airports have two to four characters, tail numbers up to six."""

MOST = 999_999_999
"""Nine digits fit PostgreSQL's integer."""

P = ParamSpec("P")
T = TypeVar("T")

_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


class Flight(NamedTuple):
    """One planned departure: a row of the table `flight`, its columns in this order.

    None stands where nothing was recorded.
    """

    year: int
    month: int
    day: int
    sched_dep_time: int
    carrier: str
    flight: int
    origin: str
    dest: str
    dep_delay: int | None
    arr_delay: int | None
    tailnum: str | None
    distance: int | None


class Chunk(NamedTuple):
    """What some lines hold: the months of all of them, the flights of the carrier asked for."""

    months: frozenset[tuple[int, int]]
    flights: list[Flight]


class BadFile(Fail):
    """The file is not a month of flights; the message is one sentence that names the file."""


def read_chunks(path: Path, carrier: str, *, size: int = LINES_PER_CHUNK) -> Generator[Chunk]:
    """Yield the file `size` lines at a time, with the flights of `carrier` alone.

    Blocks on the disk, so call `next` in a worker thread. Raises BadFile, perhaps after some
    chunks: that a file is truncated shows only at its end.
    """
    path = path.absolute()
    try:
        yield from _read_chunks(path, carrier, size)
    except (FileNotFoundError, NotADirectoryError):
        raise BadFile(f"{path}: there is no such file where the daemon runs") from None
    except PermissionError:
        raise BadFile(f"{path}: the daemon may not read this file") from None
    except EOFError:
        raise BadFile(
            f"{path}: truncated, the gzip data stop before their end; copy it again"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise BadFile(f"{path}: not a sound gzip file: {error}") from None
    except csv.Error as error:
        raise BadFile(f"{path}: not a CSV file: {error}") from None
    except UnicodeDecodeError:
        raise BadFile(f"{path}: not text in UTF-8") from None
    except ValueError as error:
        raise BadFile(f"{path}: {error}") from None


def columns(flights: Sequence[Flight]) -> list[list[Any]]:
    """Return the flights turned on their side: one list per column, as `unnest` takes them."""
    return [list(column) for column in zip(*flights, strict=True)] or [[] for _ in Flight._fields]


def parse_flight(row: Mapping[str, str]) -> Flight:
    """Return the flight in one row; raises ValueError naming the column that is wrong."""
    return Flight(
        year=_number(row, "year", 1, 9999),
        month=_number(row, "month", 1, 12),
        day=_number(row, "day", 1, 31),
        sched_dep_time=_number(row, "sched_dep_time", 0, 2400),
        carrier=_text(row, "carrier"),
        flight=_number(row, "flight", 0, MOST),
        origin=_text(row, "origin"),
        dest=_text(row, "dest"),
        dep_delay=_number_if_recorded(row, "dep_delay"),
        arr_delay=_number_if_recorded(row, "arr_delay"),
        tailnum=None if row["tailnum"] == NOT_RECORDED else _text(row, "tailnum"),
        distance=_number_if_recorded(row, "distance"),
    )


def parse_month(year: str, month: str) -> tuple[int, int]:
    """Return year and month as numbers; raises ValueError naming the column that is wrong."""
    row = {"year": year, "month": month}
    return _number(row, "year", 1, 9999), _number(row, "month", 1, 12)


def check_header(columns: Sequence[str]) -> None:
    """Raise ValueError naming every column that is missing or there twice; more may be there."""
    if not columns:
        raise ValueError("empty, its first line should name the columns")
    missing = [name for name in Flight._fields if name not in columns]
    if missing:
        raise ValueError(f"wrong columns, {', '.join(missing)} missing")
    repeated = [name for name in Flight._fields if columns.count(name) > 1]
    if repeated:
        raise ValueError(f"wrong columns, {', '.join(repeated)} there twice")


def _read_chunks(path: Path, carrier: str, size: int) -> Iterator[Chunk]:
    if path.exists() and not path.is_file():
        raise ValueError("not a regular file")
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as text:
        lines = csv.reader(_lines(text))
        header = next(lines, [])
        check_header(header)
        line = 2
        empty = True
        while rows := list(islice(lines, size)):
            chunk = _chunk(rows, header, carrier, line)
            line += len(rows)
            empty = empty and not chunk.months
            yield chunk
        if empty:
            raise ValueError("a header and no flights")


def _lines(text: TextIO) -> Iterator[str]:
    """Yield the lines; a file without line ends must not come into memory as one."""
    while line := text.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise ValueError(f"a line of {LONGEST_LINE} characters or more")
        yield line


def _chunk(rows: Sequence[list[str]], header: Sequence[str], carrier: str, first: int) -> Chunk:
    """Sort out some rows, of which the first is line `first`; blank lines do not matter."""
    year, month, who = (header.index(name) for name in ("year", "month", "carrier"))
    months: dict[tuple[str, str], int] = {}
    ours: list[tuple[int, list[str]]] = []
    for line, values in enumerate(rows, first):
        if len(values) == len(header):
            months.setdefault((values[year], values[month]), line)
            if values[who] == carrier:
                ours.append((line, values))
        elif values:
            raise ValueError(
                f"line {line}: {len(values)} values, the header names {len(header)} columns"
            )
    return Chunk(
        frozenset(_at(line, parse_month, *written) for written, line in months.items()),
        [_at(line, parse_flight, dict(zip(header, values, strict=True))) for line, values in ours],
    )


def _at(line: int, parse: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `parse` makes of it; its error names the line."""
    try:
        return parse(*args, **kwargs)
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from None


def _number(row: Mapping[str, str], column: str, least: int, most: int) -> int:
    text = row[column]
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"{column} {_shown(text)} is not a whole number")
    if not least <= int(text) <= most:
        raise ValueError(f"{column} {text} is not between {least} and {most}")
    return int(text)


def _number_if_recorded(row: Mapping[str, str], column: str) -> int | None:
    return None if row[column] == NOT_RECORDED else _number(row, column, -MOST, MOST)


def _text(row: Mapping[str, str], column: str) -> str:
    text = row[column]
    if not text or len(text) > LONGEST_CODE or not text.isprintable():
        raise ValueError(f"{column} {_shown(text)} is not a code of 1 to {LONGEST_CODE} characters")
    return text


def _shown(text: str) -> str:
    """Return the value for an error: quoted, control characters escaped, cut where it is long."""
    return repr(text if len(text) <= 30 else text[:30] + "…")
