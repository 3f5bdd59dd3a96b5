"""How workflows are written, and what is said of those written wrongly."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.model.errors import DefinitionError
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from orchestrator.workflow.retry import Retry
from orchestrator.workflow.rules import If, When

HERE = __file__


async def nothing(ctx: Context) -> None:
    """Do nothing."""


def of(name: str = "w", **after: list[str]) -> Workflow:
    """Return a workflow of tasks that do nothing."""
    made = Workflow(name)
    for task, upstream in after.items():
        made.task(name=task, after=upstream)(nothing)
    return made


@pytest.mark.parametrize("name", ["", "1st", "a b", "a/b", "é", "x" * 101, "a\n", "a\0"])
@pytest.mark.parametrize("what", ["name", "queue"])
def test_names_that_can_not_be_used_are_refused(what: str, name: str) -> None:
    with pytest.raises(DefinitionError, match=what):
        Workflow(**{"name": "w", what: name})


@pytest.mark.parametrize("version", ["", "x" * 101, "a\0", "a\nb"])
def test_a_version_may_be_any_short_text(version: str) -> None:
    assert Workflow("w", version="2026-01 (β)").version == "2026-01 (β)"
    with pytest.raises(DefinitionError, match="version"):
        Workflow("w", version=version)


def test_a_task_is_the_function_it_was_made_of() -> None:
    flow = Workflow("w")

    @flow.task()
    def double(ctx: Context, number: int) -> int:
        return 2 * number

    assert double(Context(), 4) == 8
    assert (double.name, double.is_async, flow.tasks["double"]) == ("double", False, double)


@pytest.mark.requirement("R1.duplicate")
def test_a_duplicate_name_is_refused_with_both_places() -> None:
    flow = of(one=[])
    with pytest.raises(DefinitionError) as refused:
        flow.task(name="one")(nothing)
    assert "has a task 'one' already" in str(refused.value)
    assert str(refused.value).count(f"{HERE}:{nothing.__code__.co_firstlineno}") == 2


@pytest.mark.requirement("R1.unknown")
def test_a_task_of_another_workflow_is_refused_with_its_place() -> None:
    stranger = of("other", one=[]).tasks["one"]
    with pytest.raises(DefinitionError, match="task 'one' is not of workflow 'w'") as refused:
        Workflow("w").task(after=[stranger])(nothing)
    assert HERE in str(refused.value)


def test_a_bad_signature_is_refused_with_the_file_and_the_task() -> None:
    flow = Workflow("w")

    def load() -> None: ...

    flow.task()(load)  # type: ignore[arg-type]

    with pytest.raises(DefinitionError, match=r"task 'load': the first parameter is the context"):
        flow.check()
    with pytest.raises(DefinitionError, match=HERE):
        flow.check()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"timeout": "soon"}, "timeout: 'soon' is not a duration"),
        ({"timeout": 5}, "timeout: 5 is not a duration"),
        ({"timeout": "0s"}, "timeout: '0s' leaves no time for an attempt"),
        ({"after": None}, "after is a list of tasks; got None"),
        ({"when": "sometimes"}, "when is one of all_succeeded, all_done,"),
        ({"after": "load"}, "after is a list of tasks; got 'load'"),
        ({"after": [1]}, "after is a list of tasks; got 1"),
        ({"name": "two words"}, "'two words' can not be the name of a task"),
        ({"retry": 3}, "retry is a Retry; got 3"),
    ],
)
def test_an_option_that_can_not_be_used_is_refused_with_the_place(
    options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(DefinitionError) as refused:
        Workflow("w").task(**options)(nothing)
    assert str(refused.value).startswith(f"{HERE}:{nothing.__code__.co_firstlineno}: {sentence}")


def test_one_task_may_be_given_without_a_list() -> None:
    flow = of(load=[])
    with pytest.raises(DefinitionError, match="after is a list of tasks; got <task 'load'>"):
        flow.task(after=flow.tasks["load"])(nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["name", "version", "queue", "tenant"])
def test_what_a_workflow_is_called_by_is_a_text(name: str) -> None:
    given: dict[str, Any] = {"name": "w", name: 1}
    with pytest.raises(DefinitionError, match=f"the {name} of a workflow is a text; got 1"):
        Workflow(**given)


def test_a_job_without_a_name_is_told_to_take_one() -> None:
    decorator: Any = job
    with pytest.raises(DefinitionError, match="a text; got <function nothing") as refused:
        decorator(nothing)
    assert refused.value.hint == 'with a name: @job("nothing")'


def test_a_task_without_parentheses_is_told_to_take_them() -> None:
    task: Any = of(load=[]).task
    with pytest.raises(
        DefinitionError, match=r"'nothing' of workflow 'w'.* parentheses"
    ) as refused:
        task(nothing)
    assert "@report.task()" in refused.value.hint


@pytest.mark.parametrize("named", [True, False])
def test_what_a_task_comes_after_is_given_by_name(named: bool) -> None:
    flow = of(load=[])
    task: Any = flow.task
    with pytest.raises(DefinitionError, match="given by name; got") as refused:
        task(["load"] if named else flow.tasks["load"])
    assert "after=[load]" in refused.value.hint


def test_a_task_that_yields_is_refused() -> None:
    def lines(ctx: Context) -> Iterator[str]:
        yield "a line"

    with pytest.raises(DefinitionError, match="task 'lines': a task returns its output, this one"):
        Workflow("w").task()(lines)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(DefinitionError, match="'<lambda>' can not be the name of a task"):
        Workflow("w").task()(lambda _: None)
    with pytest.raises(DefinitionError, match="name="):
        Workflow("w").task()(functools.partial(nothing))


def test_an_empty_workflow_is_refused() -> None:
    with pytest.raises(DefinitionError, match="workflow 'w' has no task"):
        Workflow("w").check()


@pytest.mark.requirement("R1.cycle")
def test_a_cycle_is_refused_by_name() -> None:
    with pytest.raises(DefinitionError, match="tasks wait for each other: a -> b -> a"):
        of(a=["b"], b=["a"]).check()


def test_a_task_added_later_belongs_to_the_graph() -> None:
    flow = of(a=[])
    assert flow.graph.order == ("a",)
    flow.task(name="b", after=["a"], when=When.ALL_DONE)(nothing)
    assert list(flow.graph.order) == ["a", "b"]
    assert flow.rules["b"] is When.ALL_DONE
    assert list(flow.parameters) == ["a", "b"]


def test_input_problems_of_all_tasks_are_told_once() -> None:
    flow = Workflow("w")

    @flow.task()
    def one(ctx: Context, file: str) -> None: ...

    @flow.task()
    def two(ctx: Context, file: str, day: int) -> None: ...

    assert flow.input_problems({"day": "x"}) == [
        "$.file: is required",
        "$.day: Expected `int`, got `str`",
    ]


def test_a_job_is_a_workflow_of_one_task_that_can_be_called() -> None:
    @job("send_email", queue="emails", retry=Retry(attempts=2))
    def send(ctx: Context, to: str) -> str:
        return f"to {to}"

    assert (send.name, send.queue, list(send.tasks)) == ("send_email", "emails", ["send"])
    assert send(Context(), to="a@b") == "to a@b"


def test_a_workflow_may_be_one_tenants_alone() -> None:
    assert job("send", tenant="acme_corp")(nothing).tenant == "acme_corp"
    assert Workflow("w", tenant="acme").tenant == "acme"
    assert Workflow("w").tenant is None
    with pytest.raises(DefinitionError, match="the tenant of workflow 'w', 'Acme': "):
        Workflow("w", tenant="Acme")


def test_a_task_of_an_object_with_an_async_call_is_async() -> None:
    class Call:
        async def __call__(self, ctx: Context, add: int) -> int:
            return ctx.attempt + add

    flow = Workflow("w")
    flow.task(name="call")(Call())
    flow.task(name="part")(functools.partial(nothing))
    assert [task.is_async for task in flow.tasks.values()] == [True, True]
    flow.check()
    assert flow.input_problems({}) == ["$.add: is required"]


def test_the_context_of_a_unit_test_needs_no_engine() -> None:
    ctx = Context(input={"file": "a.csv"})
    ctx.set("rows", 3)
    assert (ctx.get("file"), ctx.get("rows"), ctx.get("gone", 7)) == ("a.csv", 3, 7)
    assert ctx.changes == {"rows": 3}


@pytest.mark.parametrize("condition", ["rows > 0", None, asyncio.sleep])
def test_a_condition_is_a_plain_function(condition: Any) -> None:
    with pytest.raises(DefinitionError, match="a plain function of the context"):
        If(condition)


def test_a_condition_comes_with_a_rule() -> None:
    flow = Workflow("w")
    flow.task(name="a")(nothing)
    flow.task(name="b", after=["a"], when=If(bool, When.ALL_DONE))(nothing)
    assert flow.rules == {"a": When.ALL_SUCCEEDED, "b": When.ALL_DONE}
    assert flow.conditions == {"b": bool}
    with pytest.raises(DefinitionError, match="when is one of"):
        If(bool, "sometimes")  # type: ignore[arg-type]
