"""Where a task runs: in a thread or a process, and which functions a worker process can import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.model.errors import DefinitionError
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow
from tests.engine import process_tasks as tasks


def _local() -> Callable[..., Any]:
    def nested(ctx: Context) -> None: ...

    return nested


async def _asynchronous(ctx: Context) -> None: ...


def _plain(ctx: Context) -> None: ...


@pytest.mark.parametrize(
    ("function", "executor", "message"),
    [
        (_plain, "rocket", "executor is 'thread' or 'process'; got 'rocket'"),
        (_asynchronous, "process", "executor='process' is for sync functions"),
        (_local(), "process", "a worker process can not import _local.<locals>.nested"),
        (lambda _: None, "process", "a worker process can not import <lambda>"),
    ],
)
def test_an_executor_that_can_not_run_the_function_is_a_definition_error(
    function: Callable[..., Any], executor: Any, message: str
) -> None:
    workflow = Workflow("wrong")

    with pytest.raises(DefinitionError) as raised:
        workflow.task(name="step", executor=executor)(function)

    assert str(raised.value).startswith(
        f"{__file__}:{function.__code__.co_firstlineno}: task 'step'"
    )
    assert message in str(raised.value)


def test_a_function_whose_name_stands_for_another_is_a_definition_error() -> None:
    workflow = Workflow("wrong")
    workflow.task(name="step", executor="process")(_plain)
    _plain_before = globals()["_plain"]
    globals()["_plain"] = _local()

    try:
        with pytest.raises(DefinitionError, match=r"_plain is another function by now"):
            workflow.check()
    finally:
        globals()["_plain"] = _plain_before


def test_workflows_of_process_tasks_pass_their_check() -> None:
    tasks.tasks.check()
    tasks.nightly.check()


def test_a_task_of_a_worker_process_can_not_be_transactional() -> None:
    workflow = Workflow("wrong")
    with pytest.raises(DefinitionError, match="no database connection"):
        workflow.task(executor="process", transactional=True)(_plain)
