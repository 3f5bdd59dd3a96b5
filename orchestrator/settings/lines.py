"""On which line of a TOML text each key stands.

tomllib keeps no positions and no maintained parser for Python does. The text has been accepted by
tomllib when it comes here, so this reads only as much of the grammar as tells keys from values.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_BLANK = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r"""
      \"{3} (?: \\. | [^\\] )*? \"{3,5}  # of five quotes at the end, two are text
    | '{3} .*? '{3,5}
    | \" (?: \\. | [^"\\] )* \"
    | ' [^']* '
    """,
    re.DOTALL | re.VERBOSE,
)
_PLAIN = re.compile(r"[^,\]}#\n]+")


class Lines:
    """The line of every key path of one text; the first line is 1."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._found: dict[Path, int] = {}
        self._sizes: dict[Path, int] = {}  # how many tables each array of tables has so far
        self._read_document()

    def of(self, path: Path) -> int:
        """Return the line of `path`, or of the nearest table around it that the text names."""
        while path and path not in self._found:
            path = path[:-1]
        return self._found.get(path, 1)

    def paths(self) -> set[Path]:
        """Return every path the text names."""
        return set(self._found)

    def _read_document(self) -> None:
        table: Path = ()
        while self._skip(_GAP) < len(self._text):
            if self._text[self._at] == "[":
                table = self._read_header()
            else:
                self._read_pair(table)

    def _read_header(self) -> Path:
        line = self._line()
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        keys = self._read_key()
        self._at += 2 if is_array else 1
        path: Path = ()
        for position, key in enumerate(keys):
            path += (key,)
            self._found.setdefault(path, line)
            if is_array and position == len(keys) - 1:
                self._sizes[path] = self._sizes.get(path, 0) + 1
            if path in self._sizes:
                path += (self._sizes[path] - 1,)
        self._found[path] = line
        return path

    def _read_pair(self, table: Path) -> None:
        line = self._line()
        path = table
        for key in self._read_key():
            path += (key,)
            self._found.setdefault(path, line)
        self._found[path] = line
        self._at += 1  # the =
        self._skip(_BLANK)
        self._read_value(path)

    def _read_key(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip(_BLANK)
            match = _BARE.match(self._text, self._at) or _STRING.match(self._text, self._at)
            if match is None:
                raise ValueError(f"line {self._line()} holds no key")
            self._at = match.end()
            keys.append(_unquoted(match[0]))
            if not self._text.startswith(".", self._skip(_BLANK)):
                return keys
            self._at += 1

    def _read_value(self, path: Path) -> None:
        if self._text[self._at] == "[":
            self._read_array(path)
        elif self._text[self._at] == "{":
            self._read_inline_table(path)
        else:
            match = _STRING.match(self._text, self._at) or _PLAIN.match(self._text, self._at)
            if match is None:
                raise ValueError(f"line {self._line()} holds no value")
            self._at = match.end()

    def _read_array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while self._text[self._skip(_GAP)] != "]":
            self._found[*path, index] = self._line()
            self._read_value((*path, index))
            index += 1
            if self._text[self._skip(_GAP)] == ",":
                self._at += 1
        self._at += 1

    def _read_inline_table(self, path: Path) -> None:
        self._at += 1
        while self._text[self._skip(_GAP)] != "}":
            self._read_pair(path)
            if self._text[self._skip(_GAP)] == ",":
                self._at += 1
        self._at += 1

    def _skip(self, what: re.Pattern[str]) -> int:
        match = what.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at

    def _line(self) -> int:
        return bisect_right(self._starts, self._at)


def _unquoted(key: str) -> str:
    if key[0] == "'":
        return key[1:-1]
    if key[0] == '"':
        return str(tomllib.loads(f"key = {key}")["key"])  # its escapes are a basic string's
    return key
