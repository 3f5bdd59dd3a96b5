"""Trigger rules: which outcomes upstream let a task start. Pure."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from orchestrator.model.states import TaskState


class When(StrEnum):
    """When a task may start, decided once every task it comes after has settled."""

    ALL_SUCCEEDED = "all_succeeded"
    ALL_DONE = "all_done"
    ANY_SUCCEEDED = "any_succeeded"
    ANY_FAILED = "any_failed"
    NONE_FAILED = "none_failed"


def may_start(when: When, upstream: Collection[TaskState]) -> bool:
    """Return whether the rule holds for the settled states upstream; a task without any may start.

    A skipped task counts as neither succeeded nor failed.
    """
    if not upstream:
        return True
    match when:
        case When.ALL_SUCCEEDED:
            return all(state is TaskState.SUCCEEDED for state in upstream)
        case When.ALL_DONE:
            return True
        case When.ANY_SUCCEEDED:
            return TaskState.SUCCEEDED in upstream
        case When.ANY_FAILED:
            return TaskState.FAILED in upstream
        case When.NONE_FAILED:
            return TaskState.FAILED not in upstream
