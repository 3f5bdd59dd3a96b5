"""Namespaces as paths that can not be mistaken for another, and patterns of keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

KEY_BYTES = 512
SPACE_BYTES = 1024

_LIKE = re.compile(r"\\(.)|(%)|(_)|(.)", re.DOTALL)


def within(space: str, name: str) -> str:
    """Return the path of namespace `name` within `space`.

    Each name stands after its length, so a path is the beginning of another one only when that is
    a namespace within it, whatever the names are.

    >>> within(within("", "a"), "b:c")
    '1:a3:b:c'
    """
    path = f"{space}{len(name)}:{name}"
    if not name or len(path.encode()) > SPACE_BYTES:
        raise ValueError(f"a namespace has a name, and a path of at most {SPACE_BYTES} bytes")
    checked(name, "namespace")
    return path


def checked(key: str, what: str = "key") -> str:
    """Return a key that can be stored; ValueError or TypeError for another."""
    given: object = key  # users' code is often not type-checked
    if not isinstance(given, str):
        raise TypeError(f"a {what} is a text; got {type(given).__name__}")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise ValueError(f"a {what} has half of a character (a lone surrogate)") from None
    if not 0 < size <= KEY_BYTES or "\0" in key:
        raise ValueError(f"a {what} has 1 to {KEY_BYTES} bytes, and no NUL; this one has {size}")
    return key


def like(pattern: str) -> str:
    r"""Return a pattern of keys as one of SQL's LIKE, in which a backslash escapes.

    `*` stands for any text and `?` for one character; a backslash makes the next one plain.

    >>> like("user_*:\\*?")
    'user\\_%:*_'
    """
    checked(pattern, "pattern")
    parts: list[str] = []
    for part in _like(pattern):
        if not (part == "%" and parts[-1:] == ["%"]):  # two in a row say what one says
            parts.append(part)
    return "".join(parts)


def _like(pattern: str) -> Iterator[str]:
    plain = False
    for each in pattern:
        if plain or each not in "*?\\":
            yield f"\\{each}" if each in "%_\\" else each
            plain = False
        elif each == "\\":
            plain = True
        else:
            yield "%" if each == "*" else "_"
    if plain:
        yield "\\\\"


def fits(like: str, key: str) -> bool:
    r"""Return whether a key fits a LIKE pattern, which is tried from each place once at most.

    >>> fits("a%b_", "a..bc"), fits("a\\%", "ab")
    (True, False)
    """
    first, *rest = _pieces(like)
    if not rest:
        return re.fullmatch(first, key, re.DOTALL) is not None
    # Where a piece comes first is as good as any later place: no need to come back to it.
    middle = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
    return re.fullmatch(f"{first}{middle}.*{rest[-1]}", key, re.DOTALL) is not None


def literal(like: str) -> str:
    r"""Return the text that every key that fits a LIKE pattern begins with.

    >>> literal("a\\%b%c")
    'a%b'
    """
    text = ""
    for escaped, any_text, any_one, plain in _LIKE.findall(like):
        if any_text or any_one:
            break
        text += escaped or plain
    return text


def _pieces(like: str) -> list[str]:
    """Return the expressions of what stands between the places for any text."""
    pieces = [""]
    for escaped, any_text, any_one, plain in _LIKE.findall(like):
        if any_text:
            pieces.append("")
        else:
            pieces[-1] += "." if any_one else re.escape(escaped or plain)
    return pieces
