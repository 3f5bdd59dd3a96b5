"""One task of a workflow: the function and how it is to be run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from orchestrator.workflow.parameters import Parameters
from orchestrator.workflow.retry import Retry
from orchestrator.workflow.rules import When

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
T = TypeVar("T", covariant=True)


@dataclass(frozen=True, eq=False, repr=False)
class Task(Generic[P, R, T]):
    """A node of the DAG. Calling it calls the plain function, so a unit test needs nothing else.

    `R` is what the call returns and `T` the task's output: for an async function the call returns
    an awaitable of the output. `timeout` bounds one attempt.
    """

    workflow: str
    name: str
    function: Callable[Concatenate[Any, P], R]
    after: tuple[str, ...] = ()
    when: When = When.ALL_SUCCEEDED
    retry: Retry = field(default_factory=Retry)
    timeout: timedelta | None = None

    def __repr__(self) -> str:
        return f"<task {self.name!r}>"

    def __call__(self, ctx: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function as it was written."""
        return self.function(ctx, *args, **kwargs)

    @property
    def is_async(self) -> bool:
        """True when attempts run on the event loop, False when in a worker thread."""
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
