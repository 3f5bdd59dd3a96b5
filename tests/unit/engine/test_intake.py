"""What may be stored as a new run, decided before anything is queued."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.engine.intake import accept
from orchestrator.model.api import StartRun
from orchestrator.model.errors import InvalidInput, QuotaExceeded, WorkflowNotFound
from orchestrator.model.ids import TenantId
from orchestrator.quota.limits import Usage
from orchestrator.settings.model import Limits
from orchestrator.settings.tenants import TenantConfig
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from orchestrator.workflow.registry import Registry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACME = TenantConfig(id=TenantId("acme"), name="Acme")


@job("send", queue="emails")
def send(ctx: Context, to: str) -> None:
    """Do nothing."""


@job("other")
def other(ctx: Context) -> None:
    """Do nothing."""


SERVED = Registry.of([send, other])


def refused(*runs: StartRun, config: TenantConfig = ACME) -> list[str]:
    """Return the problems for which `runs` are not accepted."""
    with pytest.raises(InvalidInput) as error:
        accept(runs, config, SERVED, Usage(), now=NOW)
    problems: list[str] = error.value.data["problems"]
    return problems


def run(**changes: Any) -> StartRun:
    """Return a request that would be accepted but for `changes`."""
    return StartRun(**{"workflow": "send", "input": {"to": "a@b"}, **changes})


def test_an_accepted_run_has_an_id_and_the_queue_of_its_workflow() -> None:
    one, two = accept(
        [run(), run(queue="fast", priority=9, key="k", tags=["x"])], ACME, SERVED, Usage(), now=NOW
    )
    assert one.id != two.id
    assert (one.queue, one.priority, one.key, one.tags) == ("emails", 0, None, "[]")
    assert (two.queue, two.priority, two.key, two.tags) == ("fast", 9, "k", '["x"]')
    row = one.row(epoch=3, now=NOW)
    assert (row.workflow, row.version, row.state, row.epoch) == ("send", "1", "queued", 3)
    assert row.input == '{"to":"a@b"}'


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"input": {}}, "$.to: is required"),
        ({"input": {"to": 3}}, "$.to: Expected `str`, got `int`"),
        ({"priority": 10}, "$.priority: is from 0 to 9, got 10"),
        ({"priority": -1}, "$.priority: is from 0 to 9, got -1"),
        ({"key": ""}, "$.key: has 1 to 255 characters"),
        ({"key": "k" * 256}, "$.key: has 1 to 255 characters"),
        ({"key": "a\0"}, "$.key: has a control character"),
        ({"key": "\ud800"}, "$.key: has half of a character"),
        ({"queue": ""}, "$.queue: has 1 to 255 characters"),
        ({"queue": "a\0"}, "$.queue: has a control character"),
        ({"tags": ["ok", "a\0"]}, "$.tags: has a control character"),
        ({"tags": ["\udfff"]}, "$.tags: has half of a character"),
        ({"at": datetime.min.replace(tzinfo=UTC)}, "$.at: is in a year from 1970 to 8999"),
        ({"at": datetime.max.replace(tzinfo=UTC)}, "$.at: is in a year from 1970 to 8999"),
        ({"delay": "99999999d"}, "$.delay: is at most 36500 days; got '99999999d'"),
        ({"deadline": "99999999d"}, "$.deadline: is at most 36500 days"),
        ({"input": {"to": "\ud800"}}, "$.input: it has no JSON form: a text has half"),
        ({"input": {"to": "a", "x": float("nan")}}, "$.input: it has $.x: nan"),
        (
            {"input": {"to": "a", "x": object()}},
            "$.input: it has no JSON form: Encoding objects of type object",
        ),
    ],
)
def test_a_problem_is_told_with_its_path(changes: dict[str, Any], problem: str) -> None:
    (found,) = refused(run(**changes))
    assert found.startswith(problem)


@pytest.mark.requirement("R1.input", "R8.many")
def test_all_problems_of_all_runs_are_told_at_once() -> None:
    problems = refused(run(), run(priority=10, input={}), run(key=""))
    assert problems == [
        "runs[1]: $.to: is required",
        "runs[1]: $.priority: is from 0 to 9, got 10",
        "runs[2]: $.key: has 1 to 255 characters",
    ]


def test_a_workflow_that_is_not_served_or_not_allowed_is_not_found() -> None:
    with pytest.raises(WorkflowNotFound, match="no workflow 'gone' is served"):
        accept([run(workflow="gone")], ACME, SERVED, Usage(), now=NOW)
    only = TenantConfig(id=TenantId("acme"), name="Acme", workflows=("other",))
    with pytest.raises(WorkflowNotFound, match="tenant 'acme' may not run workflow 'send'"):
        accept([run()], only, SERVED, Usage(), now=NOW)


def test_a_workflow_that_is_another_tenants_alone_is_not_found() -> None:
    served = Registry.of([job("mine", tenant="acme")(nothing), job("hers", tenant="eve")(nothing)])
    assert len(accept([StartRun(workflow="mine")], ACME, served, Usage(), now=NOW)) == 1
    with pytest.raises(WorkflowNotFound, match="'hers' is of another tenant alone"):
        accept([StartRun(workflow="hers")], ACME, served, Usage(), now=NOW)


def nothing(ctx: Context) -> None:
    """Do nothing."""


def test_one_run_over_a_limit_refuses_all() -> None:
    small = TenantConfig(id=TenantId("acme"), name="Acme", limits=Limits(max_payload_bytes=20))
    assert len(accept([run()] * 3, small, SERVED, Usage(), now=NOW)) == 3
    with pytest.raises(QuotaExceeded, match="may send 20"):
        accept([run(), run(input={"to": "x" * 20})], small, SERVED, Usage(), now=NOW)
