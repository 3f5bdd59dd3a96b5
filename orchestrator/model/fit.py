"""Fits plain values to structs, and says what does not fit with its path, not only the first.

A body may be 16 MiB of what does not fit, and others wait while it is looked at: so no more of it
is told than anybody reads, and what fits is passed over in parts.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

from orchestrator.model.errors import InvalidRequest

MOST = 50
"""How many paths that do not fit are told."""

_PART = 500
_NAME_CHARACTERS = 100

T = TypeVar("T", bound=msgspec.Struct)


def fit(value: Any, shape: type[T]) -> T:
    """Return `value` as a `shape`; InvalidRequest names the paths that do not fit, MOST of them."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        problems = list(islice(_problems(value, shape, "$"), MOST)) or [str(error)]
        if len(problems) == MOST:
            problems.append("perhaps there is more that does not fit")
        raise InvalidRequest("; ".join(problems), data={"problems": problems}) from None


def _problems(value: Any, shape: Any, path: str) -> Iterator[str]:
    # msgspec stops at the first error, so each part is tried alone. Only structs and lists of them
    # are taken apart; everything below is one value with one error.
    plain = get_args(shape)[0] if get_origin(shape) is Annotated else shape
    if isinstance(plain, type) and issubclass(plain, msgspec.Struct) and isinstance(value, dict):
        yield from _struct_problems(value, plain, path)
        return
    found = False
    if get_origin(plain) is list and isinstance(value, list) and not _is_too_long(value, shape):
        for index, item in _suspects(value, plain):
            for problem in _problems(item, get_args(plain)[0], f"{path}[{index}]"):
                found = True
                yield problem
    if found:
        return
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        sentence, _, inner = str(error).partition(" - at `$")
        if "matching regex" in sentence:  # every pattern of ours is `model.text.LINE`
            sentence = "it has a control character"
        yield f"`{path}{inner.rstrip('`')}`: {sentence}"


def _is_too_long(value: list[Any], shape: Any) -> bool:
    longest = [getattr(each, "max_length", None) for each in get_args(shape)[1:]]
    return any(each is not None and len(value) > each for each in longest)


def _suspects(value: list[Any], shape: Any) -> Iterator[tuple[int, Any]]:
    """Yield the items of the parts of a list that do not fit as a whole, with their numbers."""
    for start in range(0, len(value), _PART):
        part = value[start : start + _PART]
        try:
            msgspec.convert(part, shape)
        except msgspec.ValidationError:
            yield from enumerate(part, start)


def _struct_problems(
    value: dict[str, Any], shape: type[msgspec.Struct], path: str
) -> Iterator[str]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    for name, field in fields.items():
        if name in value:
            yield from _problems(value[name], field.type, f"{path}.{name}")
        elif field.required:
            yield f"`{path}.{name}`: it is required"
    for name in value:
        if name not in fields:
            shown = name[:_NAME_CHARACTERS]
            near = difflib.get_close_matches(shown, fields, n=1)
            advice = f"; did you mean `{near[0]}`?" if near else ""
            yield f"`{path}.{shown}`: there is no such field{advice}"
