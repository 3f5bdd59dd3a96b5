"""How a workflow is written: `Workflow`, its `task` decorator, and `job` for a single task."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from orchestrator.model.errors import DefinitionError
from orchestrator.model.ids import tenant_id_problems
from orchestrator.model.text import line_problem
from orchestrator.settings.duration import Duration
from orchestrator.workflow import graph
from orchestrator.workflow.context import Context
from orchestrator.workflow.parameters import Parameters
from orchestrator.workflow.retry import Retry
from orchestrator.workflow.rules import Condition, If, When
from orchestrator.workflow.task import Executor, Task

P = ParamSpec("P")
T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
AnyTask = Task[..., Any, Any]


class Define:
    """The decorator that `Workflow.task` returns; it keeps the types of what it decorates."""

    def __init__(self, add: Callable[[Callable[..., Any]], AnyTask]) -> None:
        self._add = add

    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, T]]
    ) -> Task[P, Coroutine[Any, Any, T], T]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], T]) -> Task[P, T, T]: ...
    def __call__(self, function: Callable[..., Any]) -> AnyTask:
        """Add `function` to the workflow and return the task it became."""
        return self._add(function)


class Workflow:
    """A named, versioned DAG of tasks.

    >>> report = Workflow("monthly_report", version="1")
    >>> @report.task(retry=Retry(attempts=3))
    ... async def load(ctx: Context) -> int:
    ...     return 1
    >>> @report.task(after=[load])
    ... def summarise(ctx: Context) -> int:
    ...     return ctx.output(load) + 1

    With `tenant` it is that tenant's alone: no other may run it, and `enqueue` needs not be told.
    Raises DefinitionError for a name that can not be used.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str = "1",
        queue: str = "default",
        tenant: str | None = None,
    ) -> None:
        for what, text in (("name", name), ("version", version), ("queue", queue)):
            _check_text(name, what, text)
        if tenant is not None:
            _check_text(name, "tenant", tenant)
            if problems := tenant_id_problems(tenant):
                raise DefinitionError(
                    f"the tenant of workflow {name!r}, {tenant!r}: {'; '.join(problems)}"
                )
        self.name = name
        self.version = version
        self.queue = queue
        self.tenant = tenant
        self.tasks: dict[str, AnyTask] = {}

    def __repr__(self) -> str:
        return f"Workflow({self.name!r}, version={self.version!r})"

    def task(  # noqa: PLR0913 - all by name
        self,
        function: None = None,
        /,
        *,
        after: Sequence[AnyTask | str] = (),
        when: When | If = When.ALL_SUCCEEDED,
        retry: Retry | None = None,
        timeout: str | None = None,
        name: str | None = None,
        executor: Executor = "thread",
        transactional: bool = False,
    ) -> Define:
        """Return a decorator that makes a function a task of this workflow.

        `after` names the tasks it comes after, `when` is the rule by which it starts or is skipped
        once they have settled, `timeout` ("5m") bounds one attempt. An async
        function runs on the event loop, any other in a worker thread, or with `executor="process"`
        in a worker process, which is killed at its timeout and has no `ctx.db`. With
        `transactional` all that it does in `ctx.db` is one transaction, which commits together
        with the task's completion. DefinitionError for a duplicate name, and for `@report.task`
        without the parentheses.
        """
        if function is not None:
            raise _not_by_name(self.name, function)

        def add(function: Callable[..., Any]) -> AnyTask:
            task: AnyTask = Task(
                workflow=self.name,
                name=str(name or getattr(function, "__name__", "")),
                function=function,
                executor=executor,
                transactional=transactional,
            )
            try:
                task = replace(
                    task,
                    after=self._names_of(after),
                    when=_when(when),
                    retry=_retry(retry),
                    timeout=_timeout(timeout),
                )
                self._add(task)
            except DefinitionError as error:
                raise DefinitionError(f"{task.where}: {error}") from None
            return task

        return Define(add)

    @cached_property
    def graph(self) -> graph.Graph:
        """The checked DAG; DefinitionError when it has a cycle or a name it does not know."""
        edges = {name: task.after for name, task in self.tasks.items()}
        try:
            return graph.build(self.name, edges)
        except DefinitionError as error:
            file = next(iter(self.tasks.values())).where.rpartition(":")[0]
            raise DefinitionError(f"{file}: {error}") from None

    @cached_property
    def parameters(self) -> Mapping[str, Parameters]:
        """What each task takes from the input."""
        return {name: task.parameters() for name, task in self.tasks.items()}

    @cached_property
    def rules(self) -> Mapping[str, When]:
        """The trigger rule of each task."""
        whens = {name: task.when for name, task in self.tasks.items()}
        return {n: when.when if isinstance(when, If) else when for n, when in whens.items()}

    @cached_property
    def conditions(self) -> Mapping[str, Condition]:
        """The condition on the context of each task that has one."""
        whens = {name: task.when for name, task in self.tasks.items()}
        return {n: when.condition for n, when in whens.items() if isinstance(when, If)}

    def check(self) -> None:
        """Raise DefinitionError for what is wrong and can only be told once all tasks are there."""
        if not self.tasks:
            raise DefinitionError(f"workflow {self.name!r} has no task")
        _ = self.graph, self.parameters
        for task in self.tasks.values():
            if task.executor == "process":
                _check_importable(task)

    def input_problems(self, given: Mapping[str, Any]) -> list[str]:
        """Return every reason, with its path, why `given` does not fit the tasks' parameters."""
        taking = [each for each in self.parameters.values() if each.types]
        return list(dict.fromkeys(p for parameters in taking for p in parameters.problems(given)))

    def _add(self, task: AnyTask) -> None:
        if not _NAME.fullmatch(task.name):
            raise DefinitionError(
                f"{task.name!r} can not be the name of a task: give it one with name="
            )
        if task.name in self.tasks:
            raise DefinitionError(
                f"workflow {self.name!r} has a task {task.name!r} already, "
                f"from {self.tasks[task.name].where}"
            )
        self.tasks[task.name] = task
        for derived in ("graph", "parameters", "rules", "conditions"):
            vars(self).pop(derived, None)

    def _names_of(self, after: Sequence[AnyTask | str]) -> tuple[str, ...]:
        if isinstance(after, str | Task) or not isinstance(after, Iterable):
            raise DefinitionError(f"after is a list of tasks; got {after!r}")
        return tuple(self._name_of(up) for up in after)

    def _name_of(self, up: AnyTask | str) -> str:
        if isinstance(up, str):
            return up
        if not isinstance(up, Task):
            raise DefinitionError(f"after is a list of tasks; got {up!r}")
        if self.tasks.get(up.name) is not up:
            raise DefinitionError(f"task {up.name!r} is not of workflow {self.name!r}")
        return up.name


class Job(Workflow):
    """A workflow of one task. Calling it calls the function."""

    def __call__(self, ctx: Context, *args: Any, **kwargs: Any) -> Any:
        """Call the function as it was written."""
        (task,) = self.tasks.values()
        return task(ctx, *args, **kwargs)


def job(  # noqa: PLR0913 - all by name
    name: str,
    *,
    version: str = "1",
    queue: str = "default",
    retry: Retry | None = None,
    timeout: str | None = None,
    executor: Executor = "thread",
    transactional: bool = False,
    tenant: str | None = None,
) -> Callable[[Callable[..., Any]], Job]:
    """Return a decorator that makes a function a workflow of one task; see `Workflow`.

    >>> @job("send_email", queue="emails")
    ... async def send_email(ctx: Context, to: str, subject: str) -> None: ...
    """
    _check_text(name, "name", name)  # now: of `@job` without a name nothing would be heard again

    def make(function: Callable[..., Any]) -> Job:
        made = Job(name, version=version, queue=queue, tenant=tenant)
        made.task(retry=retry, timeout=timeout, executor=executor, transactional=transactional)(
            function
        )
        return made

    return make


def function_at(module: str, qualname: str) -> Callable[..., Any]:
    """Import the function that stands under a name, itself or as a task or job.

    >>> function_at("reports.monthly", "summarise")
    """
    value: Any = importlib.import_module(module)
    for part in qualname.split("."):
        value = getattr(value, part)
    if isinstance(value, Job):
        (value,) = value.tasks.values()
    function: Callable[..., Any] = value.function if isinstance(value, Task) else value
    return function


def _check_importable(task: AnyTask) -> None:
    """Raise DefinitionError when a worker process would find something else under the name."""
    module, name = task.function.__module__, task.function.__qualname__
    hint = "executor='process' needs a function that keeps its own name in a module"
    if module == "__main__":
        raise DefinitionError(
            f"{task.where}: task {task.name!r}: a worker process can not import the program's "
            "main module",
            hint=hint,
        )
    try:
        found = function_at(module, name)
    except (ImportError, AttributeError) as error:
        raise DefinitionError(
            f"{task.where}: task {task.name!r}: a worker process can not import it: {error}",
            hint=hint,
        ) from error
    if found is not task.function:
        raise DefinitionError(
            f"{task.where}: task {task.name!r}: {module}.{name} is another function by now",
            hint=hint,
        )


def _check_text(workflow: str, what: str, text: Any) -> None:
    """Raise DefinitionError when `text` can not be the name, version, queue or tenant."""
    if not isinstance(text, str):
        name = getattr(text, "__name__", "send_email")
        hint = f'with a name: @job("{name}")' if callable(text) else ""
        raise DefinitionError(f"the {what} of a workflow is a text; got {text!r}", hint=hint)
    if what in {"name", "queue"} and not _NAME.fullmatch(text):
        raise DefinitionError(
            f"{text!r} can not be the {what} of a workflow: letters, digits, '_', '.', '-'"
        )
    if what == "version" and not 0 < len(text) <= 100:
        raise DefinitionError(f"the version of workflow {workflow!r} has 1 to 100 characters")
    if problem := line_problem(text):
        raise DefinitionError(f"the {what} of workflow {workflow!r} {problem}")


def _not_by_name(workflow: str, given: Any) -> DefinitionError:
    """Return the error for what was given to `task` without a name: mostly the function itself."""
    if callable(given) and not isinstance(given, Task):
        task = getattr(given, "__name__", repr(given))
        return DefinitionError(
            f"task {task!r} of workflow {workflow!r}: the decorator lacks its parentheses",
            hint="write @report.task() where `report` is the workflow",
        )
    return DefinitionError(
        f"a task of workflow {workflow!r}: its options are given by name; got {given!r}",
        hint="for example @report.task(after=[load])",
    )


def _timeout(text: str | None) -> Any:
    if text is None:
        return None
    if not isinstance(text, str):
        raise DefinitionError(f"timeout: {text!r} is not a duration")
    try:
        timeout = Duration.parse(text)
    except ValueError as error:
        raise DefinitionError(f"timeout: {error}") from None
    if not timeout:
        raise DefinitionError(f"timeout: {text!r} leaves no time for an attempt")
    return timeout


def _when(rule: When | If) -> When | If:
    if isinstance(rule, If):
        return rule
    try:
        return When(rule)
    except ValueError:
        raise DefinitionError(
            f"when is one of {', '.join(When)}; got {rule!r}",
            hint="for a condition on the context: when=If(lambda values: ...)",
        ) from None


def _retry(policy: Retry | None) -> Retry:
    if policy is not None and not isinstance(policy, Retry):
        raise DefinitionError(f"retry is a Retry; got {policy!r}")
    return policy or Retry()
