"""Decodes a section field by field, so that every problem is found and not only the first."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from difflib import get_close_matches
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from orchestrator.model.text import line_problem
from orchestrator.settings.duration import Duration, dec_hook, parse_size
from orchestrator.settings.lines import Path
from orchestrator.settings.section import Section

S = TypeVar("S", bound=Section)

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "datetime": "a date and time with its offset, such as 2026-01-31T09:00:00Z",
}
_MESSAGE = re.compile(r"Expected `(\w+)`(?:, got `\w+`| (?P<rule>.*))")
_LENGTH = re.compile(r"of length (>=|<=) (\d+)")
_JSON_INTEGERS = range(-(2**63), 2**63)


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong, and where."""

    path: Path
    sentence: str

    def __str__(self) -> str:
        """Return the sentence with the path before it."""
        return f"{spell(self.path)}: {self.sentence}" if self.path else self.sentence


class Described(msgspec.Struct, frozen=True):
    """A field's type taken apart: what it is, whether it may be left out, and its description."""

    kind: Any
    exact: Any
    optional: bool
    description: str
    extra: dict[str, Any]


def decode(kind: type[S], raw: object, path: Path, faults: list[Fault]) -> S:
    """Return `raw` as a section; what is wrong goes to `faults`, with the default in its place."""
    if not isinstance(raw, Mapping):
        faults.append(Fault(path, f"must be a table, not {shown(raw)}"))
        return kind()
    fields = fields_of(kind)
    values: dict[str, Any] = {}
    for key, item in raw.items():
        if key not in fields:
            faults.append(Fault((*path, key), _unknown(key, fields)))
            continue
        value = _value(fields[key], item, (*path, key), faults)
        if value is not msgspec.UNSET:
            values[key] = value
    return kind(**values)


@cache
def fields_of(kind: type[Section]) -> Mapping[str, Described]:
    """Return the fields of a section by name; taken apart once, not for each of ten thousand."""
    return {each.name: describe(each.type) for each in msgspec.structs.fields(kind)}


def describe(annotation: Any) -> Described:
    """Take the type of a field apart."""
    exact, metas = _bare(annotation)
    optional = False
    if get_origin(exact) in {Union, UnionType} and NoneType in get_args(exact):
        optional = True
        (exact,) = (each for each in get_args(exact) if each is not NoneType)
    kind, inner = _bare(exact)
    extra: dict[str, Any] = {}
    description = ""
    for meta in (*inner, *metas):
        extra |= meta.extra or {}
        description = meta.description or description
    if metas and not optional:
        exact = annotation
    return Described(kind, exact, optional, description, extra)


def spell(path: Path) -> str:
    """Return `path` as a person writes it: `tenants.acme.aliases[1]`."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            quoted = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"'
            text += f".{quoted}" if text else quoted
    return text


def shown(value: object) -> str:
    """Return `value` as the file would spell it, cut when it is long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def suggest(word: str, known: Iterable[str], *, what: str) -> str:
    """Return `; did you mean …?`, else the list of what is known, else nothing."""
    names = sorted(known)
    near = get_close_matches(word, names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; {what}: {', '.join(names)}" if names else ""


def _value(field: Described, raw: object, path: Path, faults: list[Fault]) -> Any:
    if raw is None and field.optional:
        return None
    if isinstance(field.kind, type) and issubclass(field.kind, Section):
        return decode(field.kind, raw, path, faults)
    read = {dict: _table, list: _list}.get(get_origin(field.kind))
    if read is not None:
        return read(field.kind, raw, path, faults)
    return _json(raw, path, faults) if field.kind is Any else _leaf(field, raw, path, faults)


def _leaf(field: Described, raw: object, path: Path, faults: list[Fault]) -> Any:
    try:
        written = parse_size(raw) if "size" in field.extra and isinstance(raw, str) else raw
        value = msgspec.convert(written, field.exact, dec_hook=dec_hook)
    except ValueError as error:  # msgspec's ValidationError is one
        faults.append(Fault(path, _sentence(str(error), field, raw)))
        return msgspec.UNSET
    if outside := _outside(value, field.extra):
        faults.append(Fault(path, f"{outside}, not {shown(raw)}"))
    return value


def _table(kind: Any, raw: object, path: Path, faults: list[Fault]) -> Any:
    if not isinstance(raw, Mapping):
        faults.append(Fault(path, f"must be a table, not {shown(raw)}"))
        return msgspec.UNSET
    inner = describe(get_args(kind)[1])
    values: dict[str, Any] = {}
    for key, item in raw.items():
        if problem := line_problem(key):
            faults.append(Fault((*path, key), f"the name {problem}"))
        values[key] = _value(inner, item, (*path, key), faults)
    return {key: value for key, value in values.items() if value is not msgspec.UNSET}


def _list(kind: Any, raw: object, path: Path, faults: list[Fault]) -> Any:
    if not isinstance(raw, list):
        faults.append(Fault(path, f"must be a list, not {shown(raw)}"))
        return msgspec.UNSET
    inner = describe(*get_args(kind))
    values = [_value(inner, item, (*path, index), faults) for index, item in enumerate(raw)]
    return [value for value in values if value is not msgspec.UNSET]


def _json(raw: object, path: Path, faults: list[Fault]) -> object:
    """Check free JSON: TOML has dates, infinities and longer numbers, which JSON could not hold."""
    if isinstance(raw, Mapping):
        for key, item in raw.items():
            _json(key, (*path, key), faults)
            _json(item, (*path, key), faults)
    elif isinstance(raw, list):
        for index, item in enumerate(raw):
            _json(item, (*path, index), faults)
    elif isinstance(raw, str) and "\0" in raw:
        faults.append(Fault(path, "has a NUL character, which PostgreSQL can not hold"))
    elif isinstance(raw, date | time):
        faults.append(Fault(path, f"is a date or time, which JSON has not; write '{raw}' as text"))
    elif isinstance(raw, float) and not math.isfinite(raw):
        faults.append(Fault(path, f"must be a finite number, not {raw}"))
    elif isinstance(raw, int) and raw not in _JSON_INTEGERS:
        faults.append(Fault(path, "must fit in 64 bits; write a longer number as text"))
    return raw


def _unknown(key: str, known: Mapping[str, Described]) -> str:
    """Say that nobody knows a key here; one that is a key of a table below is meant there."""
    for name, field in known.items():
        below = isinstance(field.kind, type) and issubclass(field.kind, Section)
        if below and key in fields_of(field.kind):
            return f"unknown key; did you mean '{name}.{key}'?"
    return f"unknown key{suggest(key, known, what='known here')}"


def _outside(value: Any, extra: Mapping[str, Any]) -> str:
    if isinstance(value, timedelta):
        if "least" in extra and value < Duration.parse(extra["least"]):
            return f"must be at least {extra['least']}"
        if "most" in extra and value > Duration.parse(extra["most"]):
            return f"must be at most {extra['most']}"
    return ""


def _sentence(message: str, field: Described, raw: object) -> str:
    """Say what msgspec says in the words of the file."""
    kind = field.kind
    if get_origin(kind) is Literal:
        choices = ", ".join(f'"{each}"' for each in get_args(kind))
        return f"must be one of {choices}, not {shown(raw)}"
    match = _MESSAGE.fullmatch(message)
    if match is None:
        return f"must be {_WORDS['datetime']}, not {shown(raw)}" if kind is datetime else message
    rule = match["rule"] or ""
    if bound := _LENGTH.fullmatch(rule):
        empty = bound[1] == ">=" and bound[2] == "1"
        return "must not be empty" if empty else f"must have at most {bound[2]} characters"
    if rule.startswith(("<=", ">=")):
        which = "at least" if rule.startswith(">=") else "at most"
        return f"must be {which} {rule[3:]}, not {shown(raw)}"
    if rule.startswith("matching regex"):
        return f"{field.extra['says']}, unlike {shown(raw)}"
    return f"must be {_WORDS.get(match[1], match[1])}, not {shown(raw)}"


def _bare(annotation: Any) -> tuple[Any, tuple[msgspec.Meta, ...]]:
    if get_origin(annotation) is Annotated:
        kind, *metas = get_args(annotation)
        return kind, tuple(metas)
    return annotation, ()
