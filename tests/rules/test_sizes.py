"""Files, functions and classes stay small enough to be read."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("orchestrator", "supervisors", "tests", "examples", "benchmarks")
FILES = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]
QUERIES = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.sql"))]

FILE_LINES = 400
FUNCTION_LINES = 50
TEST_FUNCTION_LINES = 40
PUBLIC_METHODS = 15
SQL_FILE_LINES = 500
QUERY_LINES = 80

Function = ast.FunctionDef | ast.AsyncFunctionDef
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def name_of(path: Path) -> str:
    """Return a file's name for the test report."""
    return str(path.relative_to(ROOT))


def code_lines(text: str, tree: ast.Module) -> set[int]:
    """Return the lines with code: neither blank nor comment nor docstring."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node):
            docstring = node.body[0]
            lines -= set(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return lines


def is_property(function: Function) -> bool:
    """Return whether a method reads as an attribute."""
    return any(ast.unparse(each) == "property" for each in function.decorator_list)


def too_large(path: Path) -> Iterator[str]:
    """Yield everything in a file that is over its limit."""
    text = path.read_text()
    tree = ast.parse(text)
    lines = code_lines(text, tree)
    if len(lines) > FILE_LINES:
        yield f"the file has {len(lines)} lines of code, at most {FILE_LINES} are allowed"
    for node in ast.walk(tree):
        if isinstance(node, Function):
            allowed = TEST_FUNCTION_LINES if node.name.startswith("test_") else FUNCTION_LINES
            size = len(lines & set(range(node.lineno, (node.end_lineno or 0) + 1)))
            if size > allowed:
                yield f"{node.name} has {size} lines of code, at most {allowed} are allowed"
        if isinstance(node, ast.ClassDef):
            methods = [each for each in node.body if isinstance(each, Function)]
            public = [each for each in methods if each.name[0] != "_" and not is_property(each)]
            if len(public) > PUBLIC_METHODS:
                yield f"{node.name} has {len(public)} public methods, at most {PUBLIC_METHODS}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_its_functions_and_its_classes_are_small(path: Path) -> None:
    assert list(too_large(path)) == []


@pytest.mark.parametrize("path", QUERIES, ids=name_of)
def test_a_sql_file_and_its_queries_are_short(path: Path) -> None:
    text = path.read_text()

    assert text.count("\n") <= SQL_FILE_LINES
    for query in re.split(r"^-- name: ", text, flags=re.MULTILINE)[1:]:
        assert query.count("\n") <= QUERY_LINES, query.split("\n")[0]


def test_the_files_are_found() -> None:
    assert len(FILES) > 50
