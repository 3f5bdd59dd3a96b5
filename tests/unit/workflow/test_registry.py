"""Workflows found in modules, and what is said when they are not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from orchestrator.model.errors import DefinitionError, WorkflowNotFound
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.registry import Registry, load

Write = Callable[[str, str], Path]

TWO = """
    from orchestrator import Workflow, job

    report = Workflow("report")

    @report.task()
    def load(ctx): ...

    @job("send")
    def send(ctx): ...

    again = report
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules that can be imported during the test."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(name: str, text: str) -> Path:
        file = tmp_path / f"{name}.py"
        file.write_text(dedent(text), encoding="utf-8")
        return file

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def flow(version: str) -> Workflow:
    """Return a workflow of one task."""
    made = Workflow("w", version=version)

    @made.task()
    def one(ctx: Context) -> None: ...

    return made


def test_all_workflows_of_a_module_are_found_once(module: Write) -> None:
    module("shop_flows", TWO)
    found = load(["shop_flows", "shop_flows:report"])
    assert sorted(found.workflows) == [("report", "1"), ("send", "1")]


def test_one_workflow_may_be_named(module: Write) -> None:
    module("one_flow", TWO)
    assert list(load(["one_flow:report"]).latest) == ["report"]


def test_the_last_version_declared_is_the_one_that_new_runs_get() -> None:
    old, new = flow("2"), flow("1")
    registry = Registry.of([old, new])
    assert registry.find("w") is new
    assert registry.workflows["w", "2"] is old


def test_two_workflows_of_one_name_and_version_are_refused() -> None:
    with pytest.raises(DefinitionError, match="two workflows are called 'w' version '1'"):
        Registry.of([flow("1"), flow("1")])


def test_a_workflow_that_is_not_there_is_refused_with_what_there_is() -> None:
    with pytest.raises(WorkflowNotFound, match="no workflow 'v'") as refused:
        Registry.of([flow("1")]).find("v")
    assert refused.value.hint.startswith("served: w;")


def test_an_error_while_importing_is_told_with_file_and_line(module: Write) -> None:
    file = module("broken_flow", "import orchestrator\n\n1 / 0\n")
    with pytest.raises(DefinitionError) as refused:
        load(["broken_flow"])
    assert "ZeroDivisionError: division by zero" in str(refused.value)
    assert f"({file}:3)" in str(refused.value)


def test_a_syntax_error_is_told_with_its_own_file_and_line(module: Write) -> None:
    file = module("crooked_flow", "\n\ndef load(:\n")
    with pytest.raises(DefinitionError) as refused:
        load(["crooked_flow"])
    assert f"({file}:3)" in str(refused.value)


def test_a_module_that_ends_the_program_is_an_error_of_the_module(module: Write) -> None:
    file = module("exit_flow", "import sys\nsys.exit(3)\n")
    with pytest.raises(DefinitionError, match=r"SystemExit: 3") as refused:
        load(["exit_flow"])
    assert f"({file}:2)" in str(refused.value)


@pytest.mark.requirement("R1.place")
@pytest.mark.parametrize("line", ["Workflow('w', version=1)", "Retry(attempts=0)", "job(3)"])
def test_an_error_outside_of_a_task_names_its_line(module: Write, line: str) -> None:
    file = module("odd_flow", f"from orchestrator import Retry, Workflow, job\n\nw = {line}\n")
    with pytest.raises(DefinitionError) as refused:
        load(["odd_flow"])
    assert str(refused.value).startswith(f"{file}:3: ")


@pytest.mark.requirement("R1.place")
def test_a_definition_error_names_the_file_and_the_task(module: Write) -> None:
    file = module(
        "wrong_flow",
        """
        from orchestrator import Workflow
        w = Workflow("w")

        @w.task(after=["gone"])
        def load(ctx): ...
        """,
    )
    with pytest.raises(DefinitionError, match=r"task 'load' comes after 'gone'") as refused:
        load(["wrong_flow"])
    assert str(file) in str(refused.value)


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("no_such_module", "module 'no_such_module' can not be imported: ModuleNotFoundError"),
        ("plain_module", "module 'plain_module' defines no workflow"),
        ("plain_module:x", "plain_module:x is not a workflow"),
        ("plain_module:gone", "plain_module:gone is not a workflow"),
        ("", "'' names no module"),
        (".relative", "'.relative' names no module"),
        ("a b", "'a b' names no module"),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused(
    module: Write, reference: str, sentence: str
) -> None:
    module("plain_module", "x = 1\n")
    with pytest.raises(DefinitionError) as refused:
        load([reference])
    assert str(refused.value).startswith(sentence)


def test_the_error_of_a_module_that_is_not_there_does_not_point_into_python() -> None:
    with pytest.raises(DefinitionError) as refused:
        load(["no_such_module"])
    assert "importlib" not in str(refused.value)
