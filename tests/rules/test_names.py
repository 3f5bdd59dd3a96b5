"""Modules are named for what they hold, exported things are described, roots are not imported."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [
    path for name in ("orchestrator", "supervisors") for path in sorted((ROOT / name).rglob("*.py"))
]
PACKAGES = sorted({path.parent for path in FILES})
MANY = 12
EMPTY_WORDS = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}


def name_of(path: Path) -> str:
    """Return a file's name for the test report."""
    return str(path.relative_to(ROOT))


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [name_of(path) for path in FILES if path.stem in EMPTY_WORDS] == []


@pytest.mark.parametrize("package", PACKAGES, ids=name_of)
def test_a_package_of_many_modules_says_what_each_is_for(package: Path) -> None:
    modules = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    told = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""

    unnamed = {each for each in modules if not re.search(rf"\b{each}\b", told)}
    assert len(modules) <= MANY or sorted(unnamed) == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_exported_function_says_what_it_does(path: Path) -> None:
    functions = [
        each
        for each in ast.parse(path.read_text()).body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    assert [
        each.name
        for each in functions
        if not each.name.startswith("_") and not ast.get_docstring(each)
    ] == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_packages_never_import_from_their_own_root(path: Path) -> None:
    imports = [
        each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.ImportFrom)
    ]

    assert [each.lineno for each in imports if each.module in {"orchestrator", "supervisors"}] == []


_OF_A_ROOT = ast.Import | ast.ImportFrom | ast.If | ast.Expr | ast.Assign


@pytest.mark.parametrize("root", ["orchestrator", "supervisors"])
def test_a_root_is_imports_now_or_at_use_and_a_sorted_list_of_names_only(root: str) -> None:
    tree = ast.parse((ROOT / root / "__init__.py").read_text())

    *_, last = tree.body
    defined = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.ClassDef)]
    assert all(isinstance(each, _OF_A_ROOT) for each in tree.body)
    assert {each.name for each in defined} <= {"__getattr__", "__dir__"}
    if isinstance(last, ast.Assign):
        names = ast.literal_eval(last.value)
        assert names == sorted(names)
