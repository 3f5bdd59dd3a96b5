"""One tenant's engine: holds its live runs, and lets nothing happen before it is durable.

The way of a run: `submit` stores it and its first started tasks in one flush; after the commit the
attempts run; each outcome is recorded, the next tasks are planned and granted slots, and both ride
in the next flush. All decisions are synchronous; only the commit loop, attempts and timers wait.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import anyio
import anyio.abc
import structlog

from orchestrator.engine import entries, outcome
from orchestrator.engine.attempts import Attempts
from orchestrator.engine.commit import GroupCommit
from orchestrator.engine.execution import NULL, Execution
from orchestrator.engine.intake import Accepted, accept
from orchestrator.engine.outcome import Failed, Outcome, Succeeded
from orchestrator.engine.pulse import Pulse
from orchestrator.engine.reply import Reply
from orchestrator.engine.slots import NodeSlots
from orchestrator.model.api import Started, StartRun
from orchestrator.model.clock import AnchoredClock
from orchestrator.model.errors import RunRefused, TenantRestarted
from orchestrator.model.states import RunState, TaskState
from orchestrator.quota.limits import Usage
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.tenant.journal import Known
from orchestrator.store.tenant.owned import OwnedConnection
from orchestrator.store.tenant.runs import Claimed
from orchestrator.workflow.registry import Registry

RESIDENT_RUNS = 1_000
"""How many runs one tenant holds in memory.

The others wait in the table and are claimed as these finish.
"""

log = structlog.get_logger(__name__)


class Submission:
    """A request whose runs are being stored; answered when the last of them is known to be."""

    def __init__(self, reply: Reply[list[Started]], runs: Sequence[Accepted]) -> None:
        self._reply = reply
        self._order = [run.id for run in runs]
        self._stored: dict[UUID, Started] = {}

    def stored(self, run: UUID, started: Started) -> None:
        """Note one run; answer when it was the last."""
        self._stored[run] = started
        if len(self._stored) == len(self._order):
            self._reply.answer([self._stored[run] for run in self._order])

    def fail(self, error: Exception) -> None:
        """Answer with an error."""
        self._reply.fail(error)


class Engine:
    """Runs the workflows of one tenant under one epoch.

    `running` must be under way for anything to move.
    """

    def __init__(
        self,
        config: Callable[[], TenantConfig],
        registry: Registry,
        owned: OwnedConnection,
        attempts: Attempts,
        slots: NodeSlots,
        *,
        epoch: int,
    ) -> None:
        self._config = config
        self._registry = registry
        self._owned = owned
        self._attempts = attempts
        self._epoch = epoch
        self._clock: AnchoredClock
        self._slots = slots.tenant(
            limit=config().limits.max_concurrent_tasks, weight=config().weight, wake=self._dispatch
        )
        self._commit = GroupCommit(owned, self)
        self._runs: dict[UUID, Execution] = {}
        self._submissions: dict[UUID, Submission] = {}
        self._queued: list[tuple[int, int, Execution]] = []
        self._ready: list[tuple[int, int, Execution, str]] = []
        self._timers: list[tuple[datetime, int, Execution, str]] = []
        self._priorities: dict[UUID, int] = {}
        self._order = itertools.count()
        self._outside = 0
        self._usage = Usage()
        self._unstarted: set[UUID] = set()
        self._active: set[UUID] = set()
        self._claim_wanted = anyio.Event()
        self._claiming = False
        self._timer_changed = anyio.Event()
        self._accepting = True
        self._group: anyio.abc.TaskGroup | None = None
        self.changed = Pulse()

    # -- asked from outside ------------------------------------------------------------

    def submit(self, runs: Sequence[StartRun], reply: Reply[list[Started]]) -> None:
        """Accept `runs` and answer once all are durable; a refusal is answered at once."""
        try:
            self._usage.queued = self._outside + len(self._unstarted)
            now = self._clock.now()
            accepted = accept(runs, self._config(), self._registry, self._usage, now=now)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's answer
            reply.fail(error)
            return
        self._usage.accepted(len(accepted), now)
        submission = Submission(reply, accepted)
        if not accepted:
            reply.answer([])
        for run in accepted:
            self._submissions[run.id] = submission
            self._add(run)
        self._dispatch()

    def poke(self) -> None:
        """Look for runs that came from outside; busy until that is done."""
        self._claiming = True
        self._claim_wanted.set()

    def reconfigured(self) -> None:
        """Apply the limits of a changed configuration to what waits."""
        limits = self._config().limits
        self._slots.resize(limit=limits.max_concurrent_tasks, weight=self._config().weight)
        self._attempts.resize(self._slots.limit)
        self._admit()
        self._dispatch()

    @property
    def busy(self) -> bool:
        """True while there is anything to do before the next timer."""
        return bool(
            self._submissions
            or self._outside
            or self._claiming
            or self._ready
            or not self._commit.idle
            or any(run.state is not RunState.WAITING for run in self._runs.values())
        )

    @property
    def next_due(self) -> datetime | None:
        """When the earliest resting task may be tried again (the database's time)."""
        return self._timers[0][0] if self._timers else None

    @property
    def now(self) -> datetime:
        """The database's time, carried forward."""
        return self._clock.now()

    @property
    def running_tasks(self) -> int:
        """How many attempts hold a slot."""
        return self._slots.used

    # -- life --------------------------------------------------------------------------

    async def recover(self, clock: AnchoredClock) -> int:
        """Take over the runs that a dead owner left; return how many."""
        self._clock = clock
        for minute, count in await self._owned.accepted_lately():
            self._usage.accepted(count, minute)
        found = await self._claim()
        self._outside = await self._owned.unclaimed()
        return found

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run while the body does.

        At its end the attempts under way are cancelled, never half recorded.
        """
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                group.start_soon(self._commit.run, name="commit")
                group.start_soon(self._claim_loop, name="claim")
                group.start_soon(self._timer_loop, name="timers")
                self._dispatch()
                yield
                group.cancel_scope.cancel()
        finally:
            self._group = None
            self._slots.leave()
            self._give_up()

    async def drain(self) -> None:
        """Start nothing more and return when the attempts under way have ended and are durable."""
        self._accepting = False
        while self._slots.used or not self._commit.idle:
            await self.changed.wait()

    def tick(self) -> None:
        """Make ready what has rested long enough."""
        now = self._clock.now()
        while self._timers and self._timers[0][0] <= now:
            _, _, run, name = heapq.heappop(self._timers)
            if self._holds(run) and run.tasks[name].state is TaskState.RETRYING:
                run.tasks[name].state = TaskState.READY
                self._push(run, name)
        self._dispatch()

    # -- told by the commit loop -------------------------------------------------------

    def flushed(self) -> None:
        """Let whoever waits for quiet look again."""
        self.changed.beat()

    def is_known(self, execution: Execution, stored: Known) -> None:
        """Answer with the run that has the new one's key."""
        self._forget(execution)
        self._answer(execution.id, Started(id=stored.id, state=RunState(stored.state), known=True))

    def is_refused(self, execution: Execution, error: Exception, *, new: bool) -> None:
        """Fail the one run that the database would not store; the others go on."""
        if new:
            submission = self._submissions.pop(execution.id, None)
            self._forget(execution)
            if submission is not None:
                submission.fail(RunRefused(f"the database refused the run: {error}"))
            return
        execution.record(entries.RunFailed(error=outcome.describe(error)))
        execution.on_durable(lambda: self._forget(execution))
        self._commit.touch(execution)

    # -- inside ------------------------------------------------------------------------

    def _add(self, run: Accepted) -> None:
        held = len(self._runs) < RESIDENT_RUNS and not self._outside
        execution = Execution(run.id, run.workflow, run.input, run.queue)
        execution.add(run.row(epoch=self._epoch if held else 0))
        execution.on_durable(lambda: self._stored(execution, held=held))
        if held:
            self._hold(execution, run.priority)
        self._commit.touch(execution)

    def _stored(self, execution: Execution, *, held: bool) -> None:
        if not held:
            self._outside += 1
            self._claim_wanted.set()
        self._answer(execution.id, Started(id=execution.id, state=execution.state))

    def _answer(self, run: UUID, started: Started) -> None:
        submission = self._submissions.pop(run, None)
        if submission is not None:
            submission.stored(run, started)

    def _hold(self, execution: Execution, priority: int) -> None:
        self._runs[execution.id] = execution
        self._priorities[execution.id] = priority
        self._unstarted.add(execution.id)
        heapq.heappush(self._queued, (-priority, next(self._order), execution))
        self._admit()

    def _admit(self) -> None:
        """Let queued runs begin, most urgent first, as far as the tenant's limit allows."""
        allowed = self._config().limits.max_concurrent_runs
        while self._queued and (allowed is None or len(self._active) < allowed):
            _, _, execution = heapq.heappop(self._queued)
            if self._holds(execution):
                self._active.add(execution.id)
                self._advance(execution)

    def _advance(self, execution: Execution) -> None:
        """Record what the plan settles now, and line up what it allows."""
        plan = execution.next()
        for name in plan.skipped:
            execution.record(entries.TaskSkipped(task=name))
        for name in plan.ready:
            execution.tasks[name].state = TaskState.READY
            self._push(execution, name)
        if plan.settled:
            failure = execution.first_failure
            execution.record(
                entries.RunSucceeded() if failure is None else entries.RunFailed(error=failure)
            )
            execution.on_durable(lambda: self._finished(execution))
        self._commit.touch(execution)

    def _push(self, execution: Execution, name: str) -> None:
        urgency = -self._priorities[execution.id]
        heapq.heappush(self._ready, (urgency, next(self._order), execution, name))

    def _dispatch(self) -> None:
        """Start what is ready while there are slots; each start becomes real after its flush."""
        while self._group is not None and self._accepting and self._ready and self._slots.take():
            _, _, execution, name = heapq.heappop(self._ready)
            if self._holds(execution) and execution.tasks[name].state is TaskState.READY:
                self._start(execution, name)
            else:
                self._slots.give_back()
        self._slots.settle()

    def _start(self, execution: Execution, name: str) -> None:
        if execution.state is RunState.QUEUED:
            execution.record(entries.RunStarted(shape=execution.workflow.graph.shape))
            self._unstarted.discard(execution.id)
        attempt = execution.tasks[name].attempt + 1
        execution.record(entries.TaskStarted(task=name, attempt=attempt))
        execution.on_durable(lambda: self._launch(execution, name))
        self._commit.touch(execution)

    def _launch(self, execution: Execution, name: str) -> None:
        if self._group is not None:
            self._group.start_soon(self._attempt, execution, name, name=f"task {name}")

    async def _attempt(self, execution: Execution, name: str) -> None:
        result = await self._attempts.run(execution, name)
        self._slots.give_back()
        if self._holds(execution):
            self._settle(execution, name, result)
        self._dispatch()
        self.changed.beat()

    def _settle(self, execution: Execution, name: str, result: Outcome) -> None:
        task = execution.tasks[name]
        match result:
            case Succeeded():
                execution.record(self._success(name, task.attempt, result))
            case Failed():
                self._fail(execution, name, result)
        self._advance(execution)

    def _success(self, name: str, attempt: int, result: Succeeded) -> entries.TaskSucceeded:
        allowed = self._config().limits.max_result_bytes
        size = len(bytes(result.output))
        if allowed is None or size <= allowed:
            return entries.TaskSucceeded(
                task=name, attempt=attempt, output=result.output, values=result.values
            )
        return entries.TaskSucceeded(
            task=name, attempt=attempt, output=NULL, values=result.values, dropped_bytes=size
        )

    def _fail(self, execution: Execution, name: str, result: Failed) -> None:
        task = execution.tasks[name]
        entry = outcome.after_failure(
            outcome.Attempt(name, task.attempt, task.failures + 1),
            result,
            self._attempts.retry(execution, name),
            now=self._clock.now(),
            chance=random.random(),  # noqa: S311 - jitter, not a secret
        )
        execution.record(entry)
        if isinstance(entry, entries.TaskRetrying):
            self._rest(execution, name, entry.due_at)

    def _rest(self, execution: Execution, name: str, due_at: datetime) -> None:
        heapq.heappush(self._timers, (due_at, next(self._order), execution, name))
        self._timer_changed.set()

    def _finished(self, execution: Execution) -> None:
        log.debug("run.finished", run=str(execution.id), state=str(execution.state))
        self._forget(execution)
        self._admit()
        self._dispatch()
        if (self._outside or self._claiming) and len(self._runs) < RESIDENT_RUNS // 2:
            self._claim_wanted.set()

    def _forget(self, execution: Execution) -> None:
        self._runs.pop(execution.id, None)
        self._priorities.pop(execution.id, None)
        self._active.discard(execution.id)
        self._unstarted.discard(execution.id)
        self.changed.beat()

    def _holds(self, execution: Execution) -> bool:
        return execution.id in self._runs and not execution.state.finished

    def _give_up(self) -> None:
        """Answer everyone who still waits: their runs may or may not have been stored."""
        error = TenantRestarted(
            "the tenant's supervisor stopped before the answer; the outcome is unknown",
            hint="send the request again with the same idempotency key",
        )
        for submission in self._submissions.values():
            submission.fail(error)
        self._submissions.clear()

    # -- runs from the table -----------------------------------------------------------

    async def _claim_loop(self) -> None:
        while True:
            await self._claim_wanted.wait()
            self._claim_wanted = anyio.Event()
            if self._accepting and len(self._runs) < RESIDENT_RUNS:
                await self._claim()
                self._outside = await self._owned.unclaimed()
                self._claiming = self._claim_wanted.is_set()
                self._dispatch()
                self.changed.beat()

    async def _claim(self) -> int:
        claimed = await self._owned.claim(RESIDENT_RUNS - len(self._runs))
        claimed.sort(key=lambda run: (-run.priority, run.id))
        taken = {run.id: self._revive(run) for run in claimed}
        unreadable: dict[UUID, str] = {}
        for row in await self._owned.entries(list(taken)):
            try:
                taken[row.run_id].replay(row.seq, row.entries)
            except (ValueError, KeyError) as error:
                unreadable[row.run_id] = f"the journal does not fit the workflow: {error}"
        for run in claimed:
            self._take(taken[run.id], run.priority, unreadable.get(run.id))
        return len(claimed)

    def _revive(self, run: Claimed) -> Execution:
        workflow = self._registry.workflows[run.workflow, run.version]
        return Execution(run.id, workflow, run.input, run.queue)

    def _take(self, execution: Execution, priority: int, unreadable: str | None) -> None:
        """Let a claimed run go on where its journal ends."""
        reason = unreadable or execution.mismatch
        if reason is not None:
            log.warning("run.blocked", run=str(execution.id), reason=reason)
            execution.park(reason)
            self._commit.touch(execution)
            return
        if not execution.started:
            self._hold(execution, priority)
            return
        self._runs[execution.id] = execution
        self._priorities[execution.id] = priority
        self._active.add(execution.id)
        lost = [n for n, t in execution.tasks.items() if t.state is TaskState.RUNNING]
        execution.record(entries.RunRecovered(lost=lost))
        for name in lost:
            self._push(execution, name)
        for name, task in execution.tasks.items():
            if task.state is TaskState.RETRYING and task.due_at is not None:
                self._rest(execution, name, task.due_at)
        self._advance(execution)

    async def _timer_loop(self) -> None:
        while True:
            self._timer_changed = anyio.Event()
            due = self.next_due
            pause = None if due is None else max(0.0, (due - self._clock.now()).total_seconds())
            with anyio.move_on_after(pause):
                await self._timer_changed.wait()
            self.tick()
