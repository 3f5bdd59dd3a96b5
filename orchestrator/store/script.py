"""Reads the text of a SQL script as far as migrations need it: its statements and their places."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

_NOT_CODE = re.compile(
    r"""(?<!\w)[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/"""
    r"""|(?<!\w)(\$\w*\$).*?\1""",
    re.DOTALL,
)
_CARE = frozenset({"analyze", "checkpoint", "reindex", "vacuum"})
_CONCURRENTLY = re.compile(r"\sconcurrently\b", re.IGNORECASE)
_VISIBLE = re.compile(r"[^\n]")


class Statement(msgspec.Struct, frozen=True):
    """One statement; `line` is that of its first word.

    `words` are in lower case; what is quoted, for a name or a value, is quotation marks alone.
    """

    line: int
    text: str
    words: tuple[str, ...]


def statements(script: str) -> Iterator[Statement]:
    r"""Yield the statements of a script, without semicolons. One that says nothing is none.

    >>> [(each.line, each.text) for each in statements("SELECT ';';\n\nSELECT 2")]
    [(1, "SELECT ';'"), (3, 'SELECT 2')]
    """
    code = _NOT_CODE.sub(_hidden, script)
    ends = [*(match.start() for match in re.finditer(";", code)), len(code)]
    start = piece = 0
    atomic = False
    for end in ends:
        words = code[piece:end].lower().split()
        piece = end + 1
        # A function with a SQL body, BEGIN ATOMIC …; END, has statements of its own.
        atomic = words[:1] != ["end"] if atomic else "begin atomic" in " ".join(words)
        if atomic and end < len(code):
            continue
        text = code[start:end]
        first = start + len(text) - len(text.lstrip())
        if text.strip():
            yield Statement(
                script.count("\n", 0, first) + 1,
                script[first : start + len(text.rstrip())],
                tuple(text.lower().split()),
            )
        start = end + 1


def _hidden(match: re.Match[str]) -> str:
    """Return what stands for a comment or a quotation: as long as it, with its line ends."""
    comment = match[0].startswith(("--", "/*"))
    return _VISIBLE.sub(" " if comment else "'", match[0])


def in_a_transaction(script: str) -> str:
    """Return what a script for outside a transaction makes, as one that is for inside.

    Indexes are built at once, and what only cares for tables is left out.
    """
    kept = [each for each in statements(script) if each.words[0] not in _CARE]
    return ";\n".join(_CONCURRENTLY.sub("", each.text) for each in kept)
