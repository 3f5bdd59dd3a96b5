"""Writes the reference page of the configuration: python -m orchestrator.settings.reference."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import msgspec

from orchestrator.settings.database import DatabaseSection, ShardSection
from orchestrator.settings.decode import Described, describe
from orchestrator.settings.duration import Duration
from orchestrator.settings.keys import RELOADS
from orchestrator.settings.model import Limits, ScheduleSection, Settings, Tenant, Tier
from orchestrator.settings.section import Section

_INTRODUCTION = """\
# Configuration

<!-- Written by `make docs` from orchestrator/settings/model.py; edits here are lost. -->

The configuration is TOML. `insula serve` reads the file given with `--config`, else
`./config/insula.toml`, else it starts with the defaults and an embedded PostgreSQL. `insula check`
reads everything and prints every problem with its file and line; an unknown key is one.

A duration is numbers with units, largest first: `250ms`, `30s`, `5m`, `1h30m`, `2d`. A size is a
number of bytes or has a unit: `500kB`, `1MiB`. A relative path starts from the directory of the
file that names it. A URL may hold `${NAME}`, an environment variable, or be `file:PATH`, the
contents of that file.

`INSULA_DATABASE_URL`, `DATABASE_URL` and `POSTGRESQL_URL`, the first that is set, go before
`database.url`; `INSULA_NODE_NAME`, `INSULA_STATE_DIR` and `INSULA_RUNTIME_DIR` go before the keys
of `[node]`.

What a reload does with a changed key:
"""

_TYPES = {
    "bool": "true or false",
    "int": "whole number",
    "str": "text",
    "Duration": "duration",
    "datetime": "date and time",
}


def page() -> str:
    """Return the page."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield _INTRODUCTION
    yield from (f"- *{name}*: {meaning}" for name, meaning in RELOADS.items())
    sections = {
        each.name: each.type
        for each in msgspec.structs.fields(Settings)
        if isinstance(each.type, type) and issubclass(each.type, Section)
    }
    tables = {"shards", "tiers", "tenants"}
    yield from _section("Top of the file", Settings, leave_out={*sections, *tables})
    for name, kind in sections.items():
        yield from _section(f"`[{name}]`", kind)
        if kind is DatabaseSection:
            yield from _section("`[shards.NAME]`", ShardSection)
    yield from _section("`[tiers.NAME]`", Tier)
    yield from _section(
        "`[tenants.ID]`", Tenant, also="Every key of a tier, and:", leave_out=_keys(Tier)
    )
    yield from _section("`limits` of a tier or a tenant", Limits)
    title = "`[[tenants.ID.schedules]]` and `[[tiers.NAME.schedules]]`"
    yield from _section(title, ScheduleSection)


def _section(
    title: str, kind: type[Section], *, also: str = "", leave_out: set[str] | None = None
) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield f"{kind.__doc__ or ''}{f' {also}' if also else ''}\n"
    yield "| key | type | default | meaning | reload |"
    yield "|---|---|---|---|---|"
    for each in msgspec.structs.fields(kind):
        if each.name in (leave_out or set()):
            continue
        field = describe(each.type)
        cells = (f"`{each.name}`", _type(field), _default(each, field), field.description)
        yield f"| {' | '.join(cells)} | {field.extra['reload']} |"


def _type(field: Described) -> str:
    kind = field.kind
    if get_origin(kind) is Literal:
        return ", ".join(f"`{each}`" for each in get_args(kind))
    if get_origin(kind) is list:
        inner = _type(describe(get_args(kind)[0]))
        return f"list of {'tables' if inner == 'table' else inner}"
    if get_origin(kind) is dict:
        value = get_args(kind)[1]
        return "table" if value is Any else f"table of {_TYPES[value.__name__]}"
    if issubclass(kind, Section):
        return "table"
    return "size" if "size" in field.extra else _TYPES[kind.__name__] + _bounds(field)


def _bounds(field: Described) -> str:
    least, most = field.extra.get("least"), field.extra.get("most")
    for meta in getattr(field.exact, "__metadata__", ()):
        least = meta.ge if meta.ge is not None else least
        most = meta.le if meta.le is not None else most
    if most in {None, 2**31 - 1}:
        return "" if least is None else f", at least {least}"
    return f", {least} to {most}"


def _default(each: msgspec.structs.FieldInfo, field: Described) -> str:
    if field.optional:
        return str(field.extra.get("absent", "no limit"))
    if each.default is msgspec.NODEFAULT:
        return "empty"
    if isinstance(each.default, bool):
        return f"`{str(each.default).lower()}`"
    if each.default == "":
        return "must be given"
    quoted = isinstance(each.default, str | Duration)
    return f'`"{each.default}"`' if quoted else f"`{each.default}`"


def _keys(kind: type[Section]) -> set[str]:
    return set(kind.__struct_fields__)


if __name__ == "__main__":
    sys.stdout.write(page())
