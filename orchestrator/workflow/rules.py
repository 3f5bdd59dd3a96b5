"""Trigger rules: which outcomes upstream let a task start. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.model.errors import DefinitionError
from orchestrator.model.states import TaskState

Condition = Callable[[Mapping[str, Any]], bool]

# Looked at in every step: a member of an enum is found by its metaclass, which takes ten times as
# long as a name of the module.
_SUCCEEDED = TaskState.SUCCEEDED  # see `model.states`


class When(StrEnum):
    """When a task may start, decided once every task it comes after has settled."""

    ALL_SUCCEEDED = "all_succeeded"
    ALL_DONE = "all_done"
    ANY_SUCCEEDED = "any_succeeded"
    ANY_FAILED = "any_failed"
    NONE_FAILED = "none_failed"


@dataclass(frozen=True, slots=True)
class If:
    """A trigger rule with a condition on the context: the task is skipped unless both hold.

    `condition` gets the context as the task would see it: the run's input and what the tasks
    before it have set. It is called on the event loop once the rule holds, and perhaps once more
    after a crash, so it only looks and decides. The task fails when it raises.

    >>> @report.task(after=[count], when=If(lambda values: values["rows"] > 0))
    ... def summarise(ctx: Context) -> None: ...
    """

    condition: Condition
    when: When = When.ALL_SUCCEEDED

    def __post_init__(self) -> None:
        given: Any = self.condition  # users' code is often not type-checked
        if not callable(given) or inspect.iscoroutinefunction(given):
            raise DefinitionError(
                f"the condition of If is a plain function of the context; got {self.condition!r}"
            )
        try:
            object.__setattr__(self, "when", When(self.when))
        except ValueError:
            raise DefinitionError(f"when is one of {', '.join(When)}; got {self.when!r}") from None


def may_start(when: When, upstream: Sequence[TaskState]) -> bool:
    """Return whether the rule holds for the settled states upstream; a task without any may start.

    A skipped task counts as neither succeeded nor failed.
    """
    if not upstream:
        return True
    match when:
        case When.ALL_SUCCEEDED:
            return upstream.count(_SUCCEEDED) == len(upstream)
        case When.ALL_DONE:
            return True
        case When.ANY_SUCCEEDED:
            return _SUCCEEDED in upstream
        case When.ANY_FAILED:
            return TaskState.FAILED in upstream
        case When.NONE_FAILED:
            return TaskState.FAILED not in upstream
