"""Text from outside: what of it may be stored, and how it is shown without being obeyed."""

from __future__ import annotations

import re

LINE = r"^[^\x00-\x1f\x7f-\x9f]*(?!\n)$"
"""Names, keys, tags and reasons: one line without control characters.

Python and the readers of the OpenAPI schema read it alike; a bare $ lets a last line break pass."""

_LINE = re.compile(LINE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN = {
    # C0 and C1 drive a terminal; the others end lines, or turn the direction of what follows.
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        *range(0x200E, 0x2010),
        *range(0x2028, 0x202F),
        *range(0x2066, 0x206A),
        *range(0xD800, 0xE000),
    )
}
_IN_JSON = {code: f"\\u{code:04x}" for code in _SHOWN if code >= 0x7F}
_IN_LINE = _SHOWN | {ord("\n"): " ", ord("\t"): " "}
_IN_BLOCK = _SHOWN | {ord("\n"): "\n", ord("\t"): "\t"}


def line_problem(text: str) -> str:
    r"""Say why `text` can not be a name, key, tag or reason; empty when it can.

    >>> line_problem("a\x1b[2J")
    'has a control character'
    """
    if not _LINE.match(text):
        return "has a control character"
    if not text.isascii() and _SURROGATE.search(text):
        return "has half of a character (a lone surrogate)"
    return ""


def one_line(text: str) -> str:
    """Return `text` as one line for a terminal; control characters are spelled, not obeyed."""
    return text.translate(_IN_LINE)


def block(text: str) -> str:
    """Return text of several lines for a terminal; other control characters are spelled."""
    return text.translate(_IN_BLOCK)


def in_json(text: str) -> str:
    """Return JSON that means the same, with what could drive a terminal as its escapes."""
    return text.translate(_IN_JSON)
