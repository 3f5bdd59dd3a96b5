"""The part of the small platform that does things to runs, and remembers what was asked."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from orchestrator.engine.control import Verb
from orchestrator.model import errors
from orchestrator.model.api import (
    DeadReport,
    EventView,
    RefusedRun,
    RunPage,
    RunSummary,
    RunView,
    Started,
)
from orchestrator.model.ids import TenantId, new_run_id
from orchestrator.model.states import RunState

SUMMARY = [field.name for field in msgspec.structs.fields(RunSummary)]
PART = 3
"""Events in one answer: few, so that a test needs several."""

_AFTER = {
    Verb.CANCEL: RunState.CANCELLED,
    Verb.PAUSE: RunState.PAUSED,
    Verb.RESUME: RunState.RUNNING,
    Verb.RETRY: RunState.RUNNING,
}
_TAGS = {
    RunState.SUCCEEDED: "run.succeeded",
    RunState.FAILED: "run.failed",
    RunState.CANCELLED: "run.cancelled",
    RunState.PAUSED: "run.paused",
}


@dataclass
class HandMadeRuns:
    """Runs in memory with their events. `refuse` is raised by whatever changes something."""

    runs: dict[TenantId, dict[UUID, RunView]] = field(default_factory=dict)
    events: dict[UUID, list[EventView]] = field(default_factory=dict)
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    refuse: Exception | None = None
    read_at: float = 0.0

    def tell(self, run: UUID, tag: str, **more: Any) -> None:
        """Add an event."""
        told = self.events.setdefault(run, [])
        now, event = datetime.now(UTC), {"event": tag, **more}
        told.append(EventView(number=len(told), at=now, epoch=1, node="a", event=event))

    def finish(self, tenant: str, run: UUID, **changes: Any) -> None:
        """Move a run; without more it succeeds."""
        changes = {"state": RunState.SUCCEEDED, "finished_at": datetime.now(UTC), **changes}
        runs = self.runs[TenantId(tenant)]
        runs[run] = msgspec.structs.replace(runs[run], **changes)
        self.tell(run, _TAGS.get(runs[run].state, "run.resumed"))

    async def send_signal(
        self, tenant: TenantId, run: UUID, name: str, payload: Any, *, key: str | None = None
    ) -> None:
        self._may_change(tenant, run)
        self.asked.append((name, payload, key))

    async def change_run(
        self, tenant: TenantId, run: UUID, verb: Verb, *, reason: str = ""
    ) -> RunState:
        view = self._may_change(tenant, run)
        if view.state.finished != (verb is Verb.RETRY):
            raise errors.RunConflict(f"run {run} is {view.state}")
        self.asked.append((verb, reason))
        self.finish(tenant, run, state=_AFTER[verb])
        return _AFTER[verb]

    async def repeat_run(self, tenant: TenantId, run: UUID, task: str | None) -> Started:
        view = self._may_change(tenant, run)
        self.asked.append(("repeat", task))
        again = new_run_id()
        self.runs[tenant][again] = msgspec.structs.replace(view, id=again, key=None)
        return Started(id=again, state=RunState.QUEUED)

    async def set_pause(
        self, tenant: TenantId, workflow: str | None, *, paused: bool, reason: str = ""
    ) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.asked.append((tenant, workflow, paused, reason))

    async def read_events(self, tenant: TenantId, run: UUID, after: int) -> list[EventView]:
        self.read_at = time.monotonic()
        self._may_change(tenant, run)
        return [e for e in self.events.get(run, []) if e.number > after][:PART]

    def _may_change(self, tenant: TenantId, run: UUID) -> RunView:
        if self.refuse is not None:
            raise self.refuse
        if run not in self.runs[tenant]:
            raise errors.RunNotFound(f"no run {run} of tenant {tenant!r}")
        return self.runs[tenant][run]


@dataclass
class HandMadeDead:
    """The runs of `of` that failed and are not discarded; two at a time when all are meant."""

    of: HandMadeRuns
    discarded: set[UUID] = field(default_factory=set)

    async def read(self, tenant: TenantId, *, limit: int, cursor: UUID | None) -> RunPage:
        found = [run for run in self._dead(tenant) if cursor is None or run.id < cursor]
        page = [RunSummary(**{name: getattr(run, name) for name in SUMMARY}) for run in found]
        more = len(page) > limit
        return RunPage(runs=page[:limit], cursor=str(page[limit - 1].id) if more else None)

    async def replay(self, tenant: TenantId, runs: list[UUID] | None) -> DeadReport:
        return await self._change(tenant, runs, replay=True)

    async def discard(self, tenant: TenantId, runs: list[UUID] | None) -> DeadReport:
        return await self._change(tenant, runs, replay=False)

    def _dead(self, tenant: TenantId) -> list[RunView]:
        runs = self.of.runs[tenant].values()
        dead = [r for r in runs if r.state is RunState.FAILED and r.id not in self.discarded]
        return sorted(dead, key=lambda run: run.id, reverse=True)

    async def _change(
        self, tenant: TenantId, runs: list[UUID] | None, *, replay: bool
    ) -> DeadReport:
        dead = [run.id for run in self._dead(tenant)]
        done, refused = [], []
        for run in runs if runs is not None else dead[-2:]:
            if run not in dead:
                detail = f"run {run} is no dead letter"
                refused.append(RefusedRun(run=run, code="run_conflict", detail=detail))
                continue
            if replay:
                await self.of.change_run(tenant, run, Verb.RETRY)
            else:
                self.discarded.add(run)
            done.append(run)
        return DeadReport(done=done, refused=refused, left=len(self._dead(tenant)))
