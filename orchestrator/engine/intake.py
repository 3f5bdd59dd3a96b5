"""From a request to runs that may be stored: validated before anything is queued. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from orchestrator.model.api import StartRun
from orchestrator.model.errors import InvalidInput, WorkflowNotFound
from orchestrator.model.ids import new_run_id
from orchestrator.model.text import line_problem
from orchestrator.model.values import to_json
from orchestrator.quota.limits import Usage, Wanted, check_submit
from orchestrator.settings.duration import Duration
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.tenant.journal import NewRun
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.registry import Registry

KEY_CHARACTERS = 255
AGING_SECONDS = 60
"""A run of priority 0 goes before one of priority 9 that came nine minutes later."""

LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""When a run may begin. The ends of what a datetime holds mean infinity to the driver, which reads
them back without a time zone; so a time that is over is not stored either."""

LONGEST = timedelta(days=36_500)
"""A delay or deadline; their sum stays within what a datetime holds."""

_ENCODER = msgspec.json.Encoder()


class Accepted(msgspec.Struct, frozen=True):
    """One run that may be stored."""

    id: UUID
    workflow: Workflow
    queue: str
    priority: int
    key: str | None
    tags: str
    input: str

    due_at: datetime | None
    deadline_at: datetime | None

    def row(self, *, epoch: int, now: datetime, parent: UUID | None = None) -> NewRun:
        """Return the row to add; `epoch` 0 leaves it to be claimed later."""
        return NewRun(
            id=self.id,
            workflow=self.workflow.name,
            version=self.workflow.version,
            state="queued",
            queue=self.queue,
            priority=self.priority,
            rank=rank(now, self.priority),
            epoch=epoch,
            key=self.key,
            tags=self.tags,
            input=self.input,
            parent_id=parent,
            due_at=self.due_at,
            deadline_at=self.deadline_at,
        )


def rank(now: datetime, priority: int) -> int:
    """Return the place in the queue, lower first.

    A step of priority is worth AGING_SECONDS of waiting.
    """
    return int((now.timestamp() - priority * AGING_SECONDS) * 1000)


def accept(
    runs: Sequence[StartRun],
    config: TenantConfig,
    registry: Registry,
    usage: Usage,
    *,
    now: datetime,
) -> list[Accepted]:
    """Return `runs` ready to be stored.

    All of them or none: raises WorkflowNotFound, InvalidInput (every problem with its path) or
    QuotaExceeded.
    """
    workflows = [_workflow(run.workflow, config, registry) for run in runs]
    inputs: list[str] = []
    sizes: list[int] = []
    problems: list[str] = []
    for index, (run, workflow) in enumerate(zip(runs, workflows, strict=True)):
        found = _problems(run, workflow)
        try:
            encoded = to_json("it", run.input)
            inputs.append(encoded.decode())
            sizes.append(len(encoded))
        except (TypeError, ValueError) as error:
            found.append(f"$.input: {error}")
        problems += found if len(runs) == 1 else [f"runs[{index}]: {each}" for each in found]
    if problems:
        raise InvalidInput(
            "; ".join(problems), hint="nothing was stored", data={"problems": problems}
        )
    accepted = [
        _accepted(run, flow, text, now + usage.delay(config.limits, now, place), now)
        for place, (run, flow, text) in enumerate(zip(runs, workflows, inputs, strict=True), 1)
    ]
    wanted = [Wanted(run.queue, size) for run, size in zip(accepted, sizes, strict=True)]
    check_submit(config.id, config.limits, usage, wanted, now=now)
    return accepted


def _workflow(name: str, config: TenantConfig, registry: Registry) -> Workflow:
    if config.workflows is not None and name not in config.workflows:
        raise WorkflowNotFound(
            f"tenant {config.id!r} may not run workflow {name!r}",
            hint=f"allowed: {', '.join(sorted(config.workflows)) or 'none'}",
        )
    found = registry.find(name)
    if found.tenant not in {None, config.id}:
        raise WorkflowNotFound(f"workflow {name!r} is of another tenant alone")
    return found


def _problems(run: StartRun, workflow: Workflow) -> list[str]:
    found = workflow.input_problems(run.input)
    if not 0 <= run.priority <= 9:
        found.append(f"$.priority: is from 0 to 9, got {run.priority}")
    if run.key is not None and not 0 < len(run.key) <= KEY_CHARACTERS:
        found.append(f"$.key: has 1 to {KEY_CHARACTERS} characters")
    if run.queue is not None and not 0 < len(run.queue) <= KEY_CHARACTERS:
        found.append(f"$.queue: has 1 to {KEY_CHARACTERS} characters")
    if run.at is not None or run.delay or run.deadline:
        found += _time_problems(run)
    if run.key or run.queue or run.tags:
        found += _text_problems(run)
    return found


def _text_problems(run: StartRun) -> list[str]:
    named = [("key", run.key), ("queue", run.queue), *(("tags", tag) for tag in run.tags)]
    found = [(name, line_problem(text)) for name, text in named if text]
    return [f"$.{name}: {problem}" for name, problem in found if problem]


def _time_problems(run: StartRun) -> list[str]:
    found: list[str] = []
    if run.at is not None and (run.delay or run.at.tzinfo is None):
        found.append("$.at: is a time with its zone, and not given together with a delay")
    elif run.at is not None and run.at >= LATEST:
        found.append("$.at: is before the year 9000")
    for name, text in (("delay", run.delay), ("deadline", run.deadline)):
        try:
            if text and Duration.parse(text) > LONGEST:
                found.append(f"$.{name}: is at most {LONGEST.days} days; got {text!r}")
        except ValueError as error:
            found.append(f"$.{name}: {error}")
    return found


def _accepted(
    run: StartRun, workflow: Workflow, text: str, allowed: datetime, now: datetime
) -> Accepted:
    due_at = now + Duration.parse(run.delay) if run.delay else run.at
    if due_at is not None and due_at <= now:
        due_at = None
    if allowed > now:
        due_at = max(due_at or allowed, allowed)
    return Accepted(
        id=new_run_id(),
        workflow=workflow,
        queue=run.queue or workflow.queue,
        priority=run.priority,
        key=run.key,
        tags=_ENCODER.encode(run.tags).decode(),
        input=text,
        due_at=due_at,
        deadline_at=(due_at or now) + Duration.parse(run.deadline) if run.deadline else None,
    )
