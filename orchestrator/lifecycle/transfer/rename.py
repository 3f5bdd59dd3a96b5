"""Gives the schema in pg_dump's SQL another name: where it is a name, and nowhere else."""

from __future__ import annotations

import re

from orchestrator.model.ids import quote_identifier

_TOKEN = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*.*?\*/ )
  | (?P<path> \bSET\ search_path\ TO\ '(?:[^']|'')*'(?:,\ '(?:[^']|'')*')* )
  | (?P<name> '(?:[^']|'')*' (?= ::reg[a-z]+ ) )
  | (?P<literal> \b[eE]'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*' )
  | (?P<tag> \$(?:[A-Za-z_]\w*)?\$ ) (?P<body> .*? ) (?P=tag)
  | (?P<schema> \bSCHEMA\ (?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*) )
  | (?P<qualifier> (?<![\w$."]) (?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*) (?=\.) )
  | (?P<other> "(?:[^"]|"")*" | [A-Za-z_][\w$]* )
    """,
    re.DOTALL | re.VERBOSE,
)


def rename_schema(ddl: str, old: str, new: str) -> str:
    """Return `ddl`, which pg_dump wrote, with the schema `old` called `new`.

    Bodies of functions are code and renamed as well. Texts and comments stay as they are, but for
    the names in them that the server wrote: of `regclass` values, and of search paths.

    >>> rename_schema("CREATE TABLE tenant_a.t (c text DEFAULT 'tenant_a.t')", "tenant_a", "b")
    "CREATE TABLE b.t (c text DEFAULT 'tenant_a.t')"
    """
    if old == new:
        return ddl
    return _Renaming(old, new).apply(ddl)


class _Renaming:
    def __init__(self, old: str, new: str) -> None:
        self._old = old
        self._new = new
        plain, quoted = re.escape(old), re.escape(quote_identifier(old))
        self._in_name = re.compile(rf"""^'(?:{plain}|(?P<quoted>{quoted}))\.""")
        self._in_path = re.compile(rf"""'{plain}'""")

    def apply(self, ddl: str) -> str:
        return _TOKEN.sub(self._token, ddl)

    def _token(self, match: re.Match[str]) -> str:
        text = match[0]
        kind = "body" if match["tag"] is not None else match.lastgroup
        if kind == "body":
            return f"{match['tag']}{self.apply(match['body'])}{match['tag']}"
        if kind == "path":
            return self._in_path.sub(f"'{self._new}'", text)
        if kind == "name":
            return self._in_name.sub(self._name, text)
        if kind == "schema":
            return f"SCHEMA {self._identifier(text.removeprefix('SCHEMA '))}"
        return self._identifier(text) if kind == "qualifier" else text

    def _name(self, match: re.Match[str]) -> str:
        return f"'{quote_identifier(self._new) if match['quoted'] else self._new}."

    def _identifier(self, text: str) -> str:
        if text == self._old:
            return self._new
        return quote_identifier(self._new) if text == quote_identifier(self._old) else text
