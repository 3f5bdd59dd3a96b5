"""Trigger rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.states import TaskState
from orchestrator.workflow.rules import When, may_start

OK, BAD, SKIP = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED


@pytest.mark.parametrize(
    ("when", "starts", "does_not"),
    [
        (When.ALL_SUCCEEDED, [[OK], [OK, OK]], [[BAD], [SKIP], [OK, SKIP], [OK, BAD]]),
        (When.ALL_DONE, [[OK], [BAD], [SKIP], [OK, BAD, SKIP]], []),
        (When.ANY_SUCCEEDED, [[OK], [OK, BAD], [SKIP, OK]], [[BAD], [SKIP], [BAD, SKIP]]),
        (When.ANY_FAILED, [[BAD], [OK, BAD], [SKIP, BAD]], [[OK], [SKIP], [OK, SKIP]]),
        (When.NONE_FAILED, [[OK], [SKIP], [OK, SKIP]], [[BAD], [OK, BAD], [SKIP, BAD]]),
    ],
)
@pytest.mark.requirement("R1.rules")
def test_a_rule_holds_for_these_outcomes(
    when: When, starts: list[list[TaskState]], does_not: list[list[TaskState]]
) -> None:
    assert [may_start(when, upstream) for upstream in starts] == [True] * len(starts)
    assert [may_start(when, upstream) for upstream in does_not] == [False] * len(does_not)


@given(st.sampled_from(When))
def test_a_task_after_nothing_always_starts(when: When) -> None:
    assert may_start(when, [])


@given(st.sampled_from(When), st.lists(st.sampled_from([OK, BAD, SKIP])))
def test_the_order_of_the_upstream_tasks_does_not_matter(
    when: When, upstream: list[TaskState]
) -> None:
    assert may_start(when, upstream) == may_start(when, upstream[::-1])
