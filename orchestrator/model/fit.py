"""Fits plain values to structs, and says every path that does not fit, not only the first."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

from orchestrator.model.errors import InvalidRequest

T = TypeVar("T", bound=msgspec.Struct)


def fit(value: Any, shape: type[T]) -> T:
    """Return `value` as a `shape`; InvalidRequest names every path that does not fit."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        problems = list(_problems(value, shape, "$")) or [str(error)]
        raise InvalidRequest("; ".join(problems), data={"problems": problems}) from None


def _problems(value: Any, shape: Any, path: str) -> Iterator[str]:
    # msgspec stops at the first error, so each part is tried alone. Only structs and lists of them
    # are taken apart; everything below is one value with one error.
    plain = get_args(shape)[0] if get_origin(shape) is Annotated else shape
    if isinstance(plain, type) and issubclass(plain, msgspec.Struct) and isinstance(value, dict):
        yield from _struct_problems(value, plain, path)
        return
    found = False
    if get_origin(plain) is list and isinstance(value, list):
        for index, item in enumerate(value):
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
            near = difflib.get_close_matches(name, fields, n=1)
            advice = f"; did you mean `{near[0]}`?" if near else ""
            yield f"`{path}.{name}`: there is no such field{advice}"
