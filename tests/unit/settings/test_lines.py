"""The line of every key, against what tomllib reads from the same text."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.settings import lines
from orchestrator.settings.lines import Lines

ROOT = Path(__file__).parents[3]

NASTY = (
    r'''# [not.a.table]
top = "a # no comment, a \" quote" # a comment = with an equals sign
'literal key' = 'C:\no\escapes' ; "quoted \u0041.key" = """
[no.table]
key = "no key" \"""" '''.replace(" ; ", "\n")
    + r"""
multi = '''
x = 1''''
empty = ""
empties = ['', "", '''''', [], {}]
dotted . "inner key".third = 2020-01-01T10:00:00Z
[a.b]
[a]
list = [ # comment ]
  1, 2.5, [true, "],"], { x = [1, { y = 2 }] },
]
inline = { one = 1, "two" = { three.four = 4 } }
[[array]]
k = 1
[[array]]
k = 2
[array.sub]
deep = inf
[[array.more]]
k = 3
"""
)


def paths_of(value: Any, path: lines.Path = ()) -> set[lines.Path]:
    """Return every path of a decoded document."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return {path} - {()} | {each for key, item in items for each in paths_of(item, (*path, key))}


def test_every_path_of_a_nasty_document_is_found() -> None:
    assert Lines(NASTY).paths() == paths_of(tomllib.loads(NASTY))


@pytest.mark.parametrize("name", ["pyproject.toml", "config/insula.toml"])
def test_every_path_of_a_real_file_is_found(name: str) -> None:
    text = (ROOT / name).read_text()

    assert Lines(text).paths() == paths_of(tomllib.loads(text))


def test_the_line_of_each_key_is_found() -> None:
    found = Lines(NASTY)
    by_line = NASTY.split("\n")

    assert by_line[found.of(("top",)) - 1].startswith("top")
    assert by_line[found.of(("a",)) - 1] == "[a]"
    assert by_line[found.of(("a", "list", 3, "x", 1, "y")) - 1].startswith("  1, 2.5")
    assert by_line[found.of(("array", 1, "k")) - 1] == "k = 2"
    assert by_line[found.of(("array", 1, "sub", "deep")) - 1] == "deep = inf"
    assert by_line[found.of(("quoted A.key",)) - 1].startswith('"quoted')


def test_a_key_that_is_not_there_has_the_line_of_the_table_around_it() -> None:
    found = Lines("x = 1\n\n[node]\nname = 'a'\n")

    assert found.of(("node", "absent", "deeper")) == 3
    assert found.of(("absent",)) == 1


KEYS = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=5)
TEXTS = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-(2**63), 2**63 - 1), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


def spelled(value: Any) -> str:
    """Spell a value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, list):
        return f"[{', '.join(map(spelled, value))}]"
    if isinstance(value, dict):
        pairs = (f"{spelled(key)} = {spelled(item)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    return str(value)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_document_has_each_top_key_on_its_line(document: dict[str, Any]) -> None:
    text = "\n".join(f"{spelled(key)} = {spelled(value)}" for key, value in document.items())

    found = Lines(text)

    assert found.paths() == paths_of(tomllib.loads(text))
    assert [found.of((key,)) for key in document] == list(range(1, len(document) + 1))
