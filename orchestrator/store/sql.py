"""SQL kept beside the module that runs it: loaded by name, bound to a tenant's schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from types import MappingProxyType

from orchestrator.model.ids import quote_identifier

_NAME = re.compile(r"^-- name: *([a-z][a-z0-9_]*) *$", re.MULTILINE)

# What is not code comes first, so that a `tenant.` or `:"role"` in a literal, a quoted
# identifier or a comment is passed over. Dollar-quoted bodies are code and are bound.
_OPAQUE = r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/"""
_QUALIFIER = re.compile(rf"{_OPAQUE}|(?<![\w.$])(?P<qualifier>tenant\.)(?=[a-z_])", re.DOTALL)
_BLANK = re.compile(
    rf""":"(?P<identifier>[a-z_]+)"|:'(?P<literal>[a-z_]+)'|(?<![:\w]):(?P<number>[a-z_]+)|{_OPAQUE}""",
    re.DOTALL,
)


def load(module: str) -> Mapping[str, str]:
    """Return the queries of the .sql file beside `module`, by the names of their blocks.

    A block starts at a line `-- name: verb_noun` and runs to the next one. Call it once, at
    import, so that a misspelt name fails there.

    >>> sorted(load("orchestrator.store.control.tenants"))[:2]
    ['declare', 'fetch']
    """
    package, _, stem = module.rpartition(".")
    text = resources.files(package).joinpath(f"{stem}.sql").read_text(encoding="utf-8")
    pieces = _NAME.split(text)
    if not pieces[1:]:
        raise ValueError(f"{stem}.sql of {package} has no block: write `-- name: verb_noun`")
    names = pieces[1::2]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{stem}.sql of {package} names {', '.join(sorted(twice))} twice")
    queries = {name: body.strip() for name, body in zip(names, pieces[2::2], strict=True)}
    return MappingProxyType(queries)


def bind(query: str, schema: str) -> str:
    r"""Return `query` with the qualifier `tenant.` replaced by the quoted `schema`.

    The files say `tenant.wf_run`, which is valid SQL for every tool; literals, quoted
    identifiers and comments are left as they are.

    >>> bind("SELECT 'tenant.x' FROM tenant.wf_run", "tenant_acme")
    'SELECT \'tenant.x\' FROM "tenant_acme".wf_run'
    """
    return f"{quote_identifier(schema)}.".join(_parts(query))


@lru_cache(maxsize=1024)
def _parts(query: str) -> tuple[str, ...]:
    """Return what stands between the qualifiers: to look for them takes much longer than to bind.

    A supervisor binds every statement of its tenant when it starts.
    """
    found = [match.span() for match in _QUALIFIER.finditer(query) if match["qualifier"]]
    ends = [start for start, _ in found]
    starts = [end for _, end in found]
    return tuple(query[a:b] for a, b in zip([0, *starts], [*ends, len(query)], strict=True))


def fill(query: str, /, **values: str | int) -> str:
    r"""Return `query` with psql's variables filled.

    `:"name"` is an identifier, `:'name'` a literal and `:name` a whole number. DDL takes no
    parameters; this is for it alone. A missing name is a KeyError.

    >>> fill("ALTER ROLE :\"role\" PASSWORD :'secret'", role="r", secret="it's")
    'ALTER ROLE "r" PASSWORD \'it\'\'s\''
    """

    def replace(match: re.Match[str]) -> str:
        if match["identifier"]:
            return quote_identifier(str(values[match["identifier"]]))
        if match["literal"]:
            return quote_literal(str(values[match["literal"]]))
        if match["number"]:
            return str(int(values[match["number"]]))
        return match[0]

    return _BLANK.sub(replace, query)


def quote_literal(text: str) -> str:
    """Quote one SQL string; refuses what would depend on the server's settings.

    >>> quote_literal("it's")
    "'it''s'"
    """
    if "\0" in text or "\\" in text:
        raise ValueError("a literal for DDL has neither NUL nor backslash")
    return "'" + text.replace("'", "''") + "'"
