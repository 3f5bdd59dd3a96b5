"""From a request to runs that may be stored: validated before anything is queued. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from orchestrator.engine.values import to_json
from orchestrator.model.api import StartRun
from orchestrator.model.errors import InvalidInput, WorkflowNotFound
from orchestrator.model.ids import new_run_id
from orchestrator.quota.limits import Usage, Wanted, check_submit
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.tenant.journal import NewRun
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.registry import Registry

KEY_CHARACTERS = 255
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

    def row(self, *, epoch: int) -> NewRun:
        """Return the row to add; `epoch` 0 leaves it to be claimed later."""
        return NewRun(
            id=self.id,
            workflow=self.workflow.name,
            version=self.workflow.version,
            state="queued",
            queue=self.queue,
            priority=self.priority,
            epoch=epoch,
            key=self.key,
            tags=self.tags,
            input=self.input,
        )


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
    problems: list[str] = []
    for index, (run, workflow) in enumerate(zip(runs, workflows, strict=True)):
        found = _problems(run, workflow)
        try:
            inputs.append(to_json("it", run.input).decode())
        except (TypeError, ValueError) as error:
            found.append(f"$.input: {error}")
        problems += found if len(runs) == 1 else [f"runs[{index}]: {each}" for each in found]
    if problems:
        raise InvalidInput(
            "; ".join(problems), hint="nothing was stored", data={"problems": problems}
        )
    accepted = [
        _accepted(run, flow, text) for run, flow, text in zip(runs, workflows, inputs, strict=True)
    ]
    wanted = [Wanted(run.queue, len(run.input.encode())) for run in accepted]
    check_submit(config.id, config.limits, usage, wanted, now=now)
    return accepted


def _workflow(name: str, config: TenantConfig, registry: Registry) -> Workflow:
    if config.workflows is not None and name not in config.workflows:
        raise WorkflowNotFound(
            f"tenant {config.id!r} may not run workflow {name!r}",
            hint=f"allowed: {', '.join(sorted(config.workflows)) or 'none'}",
        )
    return registry.find(name)


def _problems(run: StartRun, workflow: Workflow) -> list[str]:
    found = workflow.input_problems(run.input)
    if not 0 <= run.priority <= 9:
        found.append(f"$.priority: is from 0 to 9, got {run.priority}")
    if run.key is not None and not 0 < len(run.key) <= KEY_CHARACTERS:
        found.append(f"$.key: has 1 to {KEY_CHARACTERS} characters")
    if run.queue is not None and not 0 < len(run.queue) <= KEY_CHARACTERS:
        found.append(f"$.queue: has 1 to {KEY_CHARACTERS} characters")
    texts = {"key": run.key or "", "queue": run.queue or "", "tags": "".join(run.tags)}
    for name, text in texts.items():
        if "\0" in text:
            found.append(f"$.{name}: has a NUL character")
        if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
            found.append(f"$.{name}: has half of a character (a lone surrogate)")
    return found


def _accepted(run: StartRun, workflow: Workflow, text: str) -> Accepted:
    return Accepted(
        id=new_run_id(),
        workflow=workflow,
        queue=run.queue or workflow.queue,
        priority=run.priority,
        key=run.key,
        tags=_ENCODER.encode(run.tags).decode(),
        input=text,
    )
