"""Values of users become JSON that can be stored and read again, or an error that says why not."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

import msgspec

SPARE_LEVELS = 200
"""How much deeper than where a value was encoded it can be decoded: in a merge, by a reader."""

_ENCODER = msgspec.json.Encoder()
_ORDERED = msgspec.json.Encoder(order="deterministic")


def to_json(what: str, value: Any, *, ordered: bool = False) -> bytes:
    """Encode `value`, which the error calls `what`; `ordered` gives equal values the same text.

    Raises ValueError or TypeError for what has no JSON form. The encoder writes NaN and the
    infinities as null; that would be a wrong value without a word, so it is an error here. The
    search costs a scan of the text for a null and, where there is one, a look at each value.

    >>> to_json("the output", {"mean": 2.5})
    b'{"mean":2.5}'
    """
    try:
        text = (_ORDERED if ordered else _ENCODER).encode(value)
        if len(text) > SPARE_LEVELS and text.count(b"[") + text.count(b"{") > SPARE_LEVELS:
            _ENCODER.encode(_deeper(value))
    except RecursionError:
        raise ValueError(f"{what} is nested too deep, or holds itself") from None
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} has no JSON form: {_reason(value, error)}") from None
    if value is not None and b"null" in text:
        _refuse_what_is_no_number(what, msgspec.to_builtins(value, str_keys=True))
    return text


def _reason(value: Any, error: TypeError | ValueError) -> str:
    if inspect.iscoroutine(value):
        return "it is a coroutine, so an `await` is missing"
    if isinstance(error, UnicodeEncodeError):
        return "a text has half of a character (a lone surrogate)"
    return str(error)


def _deeper(value: Any) -> Any:
    for _ in range(SPARE_LEVELS):
        value = [value]
    return value


def _refuse_what_is_no_number(what: str, value: Any) -> None:
    if not _finite(value):
        path, number = next(_not_finite(value, "$"))
        raise ValueError(
            f"{what} has {path}: {number}, and JSON has no number for it; use None or a text"
        )


def _finite(value: Any) -> bool:
    # Looks at every value of a text with a null in it, so it does nothing but that: a third of
    # the time of json.dumps(allow_nan=False).
    kind = type(value)
    if kind is dict:
        return all(map(_finite, value.values()))
    if kind is list or kind is tuple:
        return all(map(_finite, value))
    return kind is not float or math.isfinite(value)


def _not_finite(value: Any, path: str) -> Iterator[tuple[str, float]]:
    match value:
        case float() if not math.isfinite(value):
            yield path, value
        case dict():
            for key, each in value.items():
                yield from _not_finite(each, f"{path}.{key}")
        case list() | tuple():
            for index, each in enumerate(value):
                yield from _not_finite(each, f"{path}[{index}]")
