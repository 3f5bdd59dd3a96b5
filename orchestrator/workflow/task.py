"""One task of a workflow: the function and how it is to be run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, get_args

from orchestrator.model.errors import DefinitionError
from orchestrator.workflow.parameters import Parameters
from orchestrator.workflow.retry import Retry
from orchestrator.workflow.rules import If, When

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
T = TypeVar("T", covariant=True)

Executor = Literal["thread", "process"]


@dataclass(frozen=True, eq=False, repr=False)
class Task(Generic[P, R, T]):
    """A node of the DAG. Calling it calls the plain function, so a unit test needs nothing else.

    `R` is what the call returns and `T` the task's output: for an async function the call returns
    an awaitable of the output. `timeout` bounds one attempt. `executor` is where a sync function
    runs; what a `transactional` one does in `ctx.db` commits together with its completion. Raises
    DefinitionError when it can not run there.
    """

    workflow: str
    name: str
    function: Callable[Concatenate[Any, P], R]
    after: tuple[str, ...] = ()
    when: When | If = When.ALL_SUCCEEDED
    retry: Retry = field(default_factory=Retry)
    timeout: timedelta | None = None
    executor: Executor = "thread"
    transactional: bool = False

    def __post_init__(self) -> None:
        if self.executor not in get_args(Executor):
            known = " or ".join(repr(each) for each in get_args(Executor))
            raise DefinitionError(
                f"{self.where}: task {self.name!r}: executor is {known}; got {self.executor!r}"
            )
        if inspect.isgeneratorfunction(self.function) or inspect.isasyncgenfunction(self.function):
            raise DefinitionError(
                f"{self.where}: task {self.name!r}: a task returns its output, this one yields"
            )
        if self.executor == "process":
            self._check_process()
        if self.transactional and self.executor == "process":
            raise DefinitionError(
                f"{self.where}: task {self.name!r}: a worker process has no database connection, "
                "so a task there can not be transactional",
                hint="leave out executor, or transactional",
            )

    def __repr__(self) -> str:
        return f"<task {self.name!r}>"

    def __call__(self, ctx: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function as it was written."""
        return self.function(ctx, *args, **kwargs)

    @cached_property
    def is_async(self) -> bool:
        """True when attempts run on the event loop, False when where `executor` says."""
        called = getattr(self.function, "__call__", None)  # noqa: B004 - not whether, but what
        return inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(called)

    @property
    def where(self) -> str:
        """The file and line of the function, for messages."""
        code = getattr(self.function, "__code__", None)
        return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(self.function)

    def parameters(self) -> Parameters:
        """Return what the function takes after the context.

        DefinitionError when that can not be told.
        """
        return Parameters.of(self.function, f"{self.where}: task {self.name!r}")

    def _check_process(self) -> None:
        if self.is_async:
            raise DefinitionError(
                f"{self.where}: task {self.name!r}: an async function runs on the event loop, "
                "executor='process' is for sync functions",
                hint="write it with def, or leave out executor",
            )
        name = getattr(self.function, "__qualname__", "")
        if not name or "<" in name or not getattr(self.function, "__module__", ""):
            raise DefinitionError(
                f"{self.where}: task {self.name!r}: a worker process can not import "
                f"{name or repr(self.function)}",
                hint="executor='process' needs a function defined at the top level of a module",
            )
