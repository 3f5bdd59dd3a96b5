"""The runs in memory: what is ready, who may start, what follows an outcome.

All decisions are synchronous.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from datetime import datetime
from functools import partial
from time import monotonic
from typing import assert_never
from uuid import UUID

import anyio
import anyio.lowlevel
import structlog

from orchestrator.engine import endings, entries, outcome
from orchestrator.engine.attempt_group import NOT_OURS, AttemptGroup, is_under_way
from orchestrator.engine.attempts import Attempts
from orchestrator.engine.durable import Port
from orchestrator.engine.execution import Execution
from orchestrator.engine.outcome import Diverged, Failed, Outcome, Stored, Succeeded, Waiting
from orchestrator.engine.pulse import Pulse
from orchestrator.engine.residence import Residence
from orchestrator.engine.rest import is_held_up, is_paused, is_put_off, rests_long
from orchestrator.engine.slots import NodeSlots
from orchestrator.engine.suspects import Suspects, poison_of
from orchestrator.engine.timers import Timers
from orchestrator.model.api import Failure
from orchestrator.model.clock import AnchoredClock
from orchestrator.model.states import RunState, TaskState
from orchestrator.settings.model import Limits
from orchestrator.settings.tenants import TenantConfig

log = structlog.get_logger(__name__)

# Names for what every step asks: see `model.states`.
_READY, _RUNNING, _RUN_RUNNING = TaskState.READY, TaskState.RUNNING, RunState.RUNNING


class Board:
    """Holds the live runs of one tenant and moves them.

    `touch` hands a run to the next flush; nothing that was recorded takes effect before it has
    committed. `on_gone` is called when a run has left: ended for good, or rests in the table.
    """

    def __init__(
        self,
        config: Callable[[], TenantConfig],
        attempts: Attempts,
        slots: NodeSlots,
        *,
        touch: Callable[[Execution], None],
        on_gone: Callable[[Execution], None],
    ) -> None:
        self._config = config
        self._attempts = attempts
        self._touch = touch
        self._on_gone = on_gone
        self._slots = slots.tenant(
            limit=config().limits.max_concurrent_tasks, weight=config().weight, wake=self.dispatch
        )
        self._queued: list[tuple[int, int, Execution]] = []
        self._ready: list[tuple[int, int, Execution, str]] = []
        self._timers = Timers()
        self._order = itertools.count()
        self._active: set[Execution] = set()
        self._suspects = Suspects(self._slots)
        self._starting: dict[Execution, int] = {}
        self._open = False
        self._port: Port
        self.group = AttemptGroup()
        self.residence = Residence(slots.memory)
        self.runs: dict[UUID, Execution] = {}
        self.unstarted: set[Execution] = set()
        self.completing: set[tuple[UUID, str]] = set()
        self.paused: set[str] = set()
        self.accepting = True
        self.clock: AnchoredClock
        self.outside_due: datetime | None = None
        self.schedule_due: datetime | None = None
        self.changed = Pulse()
        self.timers_changed = Pulse()

    # -- life --------------------------------------------------------------------------

    def open(self, port: Port) -> None:
        """Let attempts start; the group has to run."""
        self._open = True
        self._port = port
        self.dispatch()

    def close(self) -> None:
        """Give the slots back: the group has ended."""
        self._open = False
        self._suspects.close()
        self._slots.leave()
        self.residence.close()

    def reconfigured(self) -> None:
        """Apply the limits of a changed configuration to what waits."""
        self._slots.resize(limit=self.limits.max_concurrent_tasks, weight=self._config().weight)
        self._attempts.resize(self._slots.limit)
        self._admit()
        self.dispatch()

    @property
    def busy(self) -> bool:
        """True while anything can move before the next timer, signal or child."""
        return bool(self._ready) or any(
            run.state not in _AT_REST and not is_paused(run, self.paused)
            for run in self.runs.values()
        )

    @property
    def next_due(self) -> datetime | None:
        """When the earliest timer fires: of runs here, of those outside, of schedules."""
        dues = (self._timers.first, self._suspects.next_due, self.outside_due, self.schedule_due)
        return min((due for due in dues if due is not None), default=None)

    @property
    def limits(self) -> Limits:
        """What the tenant may have now."""
        return self._config().limits

    @property
    def used_slots(self) -> int:
        """How many attempts are under way or about to be."""
        return self._slots.used

    @property
    def running(self) -> int:
        """How many runs have been let in and have not ended."""
        return len(self._active)

    def holds(self, execution: Execution) -> bool:
        """Return whether the run is here, this very object, and can still move."""
        return execution.held and not execution.state.over

    # -- taking runs up ----------------------------------------------------------------

    def hold(self, execution: Execution) -> None:
        """Take up a run that has not begun."""
        self._let_in(execution)
        self.unstarted.add(execution)
        if self._expires(execution):
            return
        heapq.heappush(self._queued, (execution.rank, next(self._order), execution))
        self._admit()
        if is_paused(execution, self.paused):
            self._leave_if_resting(execution)
            self._touch(execution)

    def take_up(self, execution: Execution, *, crashed: bool) -> None:
        """Take up a run where its journal ends."""
        execution.keep()
        if not execution.started:
            self.hold(execution)
            return
        self._let_in(execution)
        self._active.add(execution)
        if self._expires(execution):
            return
        lost = [n for n, t in execution.tasks.items() if t.state is _RUNNING]
        if lost:
            execution.record(entries.RunRecovered(lost=lost, crashed=crashed))
        poison = poison_of(execution)
        if poison is not None:
            self.end(execution, entries.RunDied(error=poison))
            return
        for name, task in execution.tasks.items():
            if task.state is _READY:
                self._push(execution, name)
            elif task.due_at is not None:
                self._watch(execution, task.due_at)
            if task.ends_at is not None:
                self._watch(execution, task.ends_at)
        self._end_late(execution, self.clock.now())
        if not execution.over:
            self.resume_parked(execution)
            self._advance(execution)

    def _admit(self) -> None:
        """Let queued runs begin, most urgent first, as far as the tenant's limit allows."""
        allowed = self._config().limits.max_concurrent_runs
        while self._queued and (allowed is None or len(self._active) < allowed):
            _, _, execution = heapq.heappop(self._queued)
            if self.holds(execution):
                self._active.add(execution)
                self._advance(execution)

    # -- moving ------------------------------------------------------------------------

    def _advance(self, execution: Execution) -> None:
        """Record what the plan settles now, line up what it allows, and let a resting run leave."""
        plan = execution.next()
        for name in plan.skipped:
            execution.record(entries.TaskSkipped(task=name))
        for name, error in plan.failed:
            attempt = execution.tasks[name].attempt
            execution.record(entries.TaskFailed(task=name, attempt=attempt, error=error))
        for name in plan.ready:
            execution.tasks[name].state = _READY
            self._push(execution, name)
        if plan.settled:
            failure = execution.first_failure
            ending = entries.RunSucceeded() if failure is None else entries.RunFailed(error=failure)
            self.end(execution, ending)
        else:
            self._leave_if_resting(execution)
            self._touch(execution)

    def dispatch(self) -> None:
        """Start what is ready while there are slots; each start becomes real after its flush."""
        aside, suspects = [], []
        while self._open and self.accepting and self._ready and self._slots.take():
            item = heapq.heappop(self._ready)
            _, _, execution, name = item
            if not self.holds(execution) or execution.tasks[name].state is not _READY:
                self._slots.give_back()
            elif is_put_off(execution, self.paused, self.clock):
                self._slots.give_back()
                aside.append(item)
            elif execution.tasks[name].crashes and not self._suspects.may_start(execution, name):
                self._slots.give_back()
                suspects.append(item)
            else:
                self._start(execution, name)
        for _, _, execution, _ in aside:
            self._leave_if_resting(execution)
            self._touch(execution)
        for item in suspects:
            heapq.heappush(self._ready, item)
        self._slots.settle()

    def tick(self) -> None:
        """Let go on what has rested long enough, and end what is past its deadline."""
        now = self.clock.now()
        for run in self._timers.due(now):
            execution = self.runs.get(run)
            if execution is None or execution.over or self._expires(execution, watch=False):
                continue
            self._end_late(execution, now)
            for name, task in execution.tasks.items():
                due = task.due_at is not None and task.due_at <= now
                if due and task.state is TaskState.RETRYING:
                    task.state = _READY
                    self._push(execution, name)
            self.resume_parked(execution)
        self._clear_suspect(now)
        self.dispatch()

    def _clear_suspect(self, now: datetime) -> None:
        """Let the next suspect run when the one before has done no harm for long enough."""
        run, name = self._suspects.outlived(now) or (None, "")
        execution = self.runs.get(run) if run is not None else None
        if execution is not None and self.holds(execution):
            execution.record(entries.TaskCleared(task=name))
            execution.on_durable(partial(self._suspects.leave, execution.id, name))
            self._touch(execution)

    def resume_parked(self, execution: Execution) -> None:
        """Make ready the parked tasks for which something has come.

        They are due from now on, though what came is not news any more: should the process die
        before there is a slot for them, or a pause let the run leave, whoever looks next finds it.
        """
        now = self.clock.now()
        for name, task in execution.tasks.items():
            if execution.resumable(name, now):
                task.state, task.due_at = _READY, now
                self._push(execution, name)

    def set_paused(self, names: set[str]) -> None:
        """Let these workflows, with '' all of them, start nothing; what waits of them leaves.

        So that no backlog of theirs takes the room of the others, though nothing ends meanwhile.
        """
        held = [run for run in self.runs.values() if is_paused(run, self.paused)]
        self.paused = names
        for run in held:
            self.resume(run)
        for run in self.runs.values():
            if is_paused(run, self.paused):
                self._leave_if_resting(run)
                self._touch(run)

    def resume(self, execution: Execution) -> None:
        """Line up again what a pause had put aside."""
        for name, task in execution.tasks.items():
            if task.state is _READY:
                self._push(execution, name)
        self._advance(execution)
        self.dispatch()

    def forget(self, execution: Execution) -> None:
        """Let go of a run as the table has it; what may still be under way of it is cut off."""
        self.forget_starts(execution)
        self.unstarted.discard(execution)
        if not execution.held:
            return
        self.group.cut_off(execution)
        del self.runs[execution.id]
        self.residence.leave(execution.id)
        execution.held = False
        self._active.discard(execution)
        self._timers.prune(self.runs)
        self._on_gone(execution)
        self._admit()
        self.dispatch()
        self.changed.beat()

    # -- attempts ----------------------------------------------------------------------

    def _start(self, execution: Execution, name: str) -> None:
        if execution.shape is None:
            execution.record(entries.RunStarted(shape=execution.workflow.graph.shape))
            self.unstarted.discard(execution)
        task = execution.tasks[name]
        if task.wait is not None:
            execution.record(entries.TaskResumed(task=name))
        else:
            retry = execution.workflow.tasks[name].retry
            bounded = retry.within is not None and task.ends_at is None
            ends_at = retry.ends_at(self.clock.now()) if bounded else None
            execution.record(entries.TaskStarted(name, task.attempt + 1, ends_at))
        if task.ends_at is not None:
            self._watch(execution, task.ends_at)
        self._starting[execution] = self._starting.get(execution, 0) + 1
        execution.on_durable(partial(self._launch, execution, name))
        self._touch(execution)

    def forget_starts(self, execution: Execution) -> None:
        """Give back the slots of starts that will never become durable."""
        for _ in range(self._starting.pop(execution, 0)):
            self._slots.give_back()
            self._suspects.leave(execution.id)

    def _launch(self, execution: Execution, name: str) -> None:
        left = self._starting.pop(execution, 1) - 1
        if left:
            self._starting[execution] = left
        if self._suspects.alone == (execution.id, name):
            self._suspects.begins(self.clock.now())
            self.timers_changed.beat()
        if self._open:
            self.group.start(self._attempt, execution, name)

    async def _attempt(self, execution: Execution, name: str, scope: anyio.CancelScope) -> None:
        result: Outcome | None = None
        began: float | None = None
        with scope:
            if is_under_way(execution, name):
                began = execution.meter.began[name] = monotonic()
                result = await self._outcome_of(execution, name)
        self.group.leave(execution, name, scope)
        self._slots.give_back(None if began is None else monotonic() - began)
        if self._suspects.alone is not None:
            self._suspects.leave(execution.id, name)
        wanted = is_under_way(execution, name) and not scope.cancel_called
        if result is not None and (
            wanted or (isinstance(result, Stored) and self.holds(execution))
        ):
            self._settle(execution, name, result)
        self.dispatch()
        self.changed.beat()

    async def _outcome_of(self, execution: Execution, name: str) -> Outcome:
        """Run the attempt. What breaks around it is its own failure, and not the tenant's end."""
        try:
            return await self._attempts.run(execution, name, self._port)
        except NOT_OURS:
            raise
        except BaseException as error:
            await anyio.lowlevel.checkpoint_if_cancelled()
            log.exception("attempt.broke", run=str(execution.id), task=name)
            return outcome.broken(error, name)

    def _settle(self, execution: Execution, name: str, result: Outcome) -> None:
        match result:
            case Succeeded():
                allowed = self.limits.max_result_bytes
                execution.record(endings.success(execution, name, result, allowed=allowed))
            case Failed():
                self._fail(execution, name, result)
            case Waiting(wait=wait):
                execution.record(wait)
                if wait.due_at is not None:
                    self._watch(execution, wait.due_at)
                self.resume_parked(execution)
            case Diverged(reason=reason):
                self.block(execution, Failure(type="NonDeterminism", message=reason, task=name))
                return
            case Stored():
                pass
            case _:
                assert_never(result)
        self._advance(execution)

    def block(self, execution: Execution, failure: Failure) -> None:
        """Park a run that the code here can not continue; nothing is guessed."""
        log.warning("run.blocked", run=str(execution.id), reason=failure.message)
        self.group.cut_off(execution)
        execution.park(failure)
        execution.on_durable(partial(self.forget, execution))
        self._touch(execution)

    def _fail(self, execution: Execution, name: str, result: Failed) -> None:
        entry = outcome.after_failure(
            endings.failed_attempt(execution, name),
            result,
            self._attempts.retry(execution, name),
            now=self.clock.now(),
            chance=random.random(),  # noqa: S311 - jitter, not a secret
        )
        execution.record(entry)
        if isinstance(entry, entries.TaskRetrying):
            self._watch(execution, entry.due_at)

    def _end_late(self, execution: Execution, now: datetime) -> None:
        """Fail the tasks whose time for all attempts is over, wherever they stand."""
        for name, task in execution.tasks.items():
            late = task.ends_at is not None and task.ends_at <= now and not task.state.settled
            if not late or (execution.id, name) in self.completing:
                continue
            self.group.cut_off(execution, name)
            execution.record(endings.out_of_time(execution, name))
            self._advance(execution)

    # -- the end -----------------------------------------------------------------------

    def end(self, execution: Execution, entry: entries.AnyEnding) -> None:
        """End a run now, if need be from outside; nothing of its attempts is recorded any more."""
        self._let_in(execution)
        self.group.cut_off(execution)
        execution.record(entry)
        execution.on_durable(partial(self.forget, execution))
        self._touch(execution)

    def _expires(self, execution: Execution, *, watch: bool = True) -> bool:
        """End a run that is past its deadline; otherwise keep watching for it."""
        deadline = execution.deadline_at
        if deadline is None:
            return False
        if deadline <= self.clock.now():
            message = "the run did not end in time"
            error = Failure(type="DeadlineExceeded", message=message)
            self.end(execution, entries.RunFailed(error=error))
            return True
        if watch:
            self._watch(execution, deadline)
        return False

    def _leave_if_resting(self, execution: Execution) -> None:
        """Let a run leave memory that has nothing to do for a while; the next flush carries it."""
        if execution.state is _RUN_RUNNING and not self.paused:
            return  # asked after each step: nearly always there is something to do
        if not self.holds(execution):
            return
        if is_held_up(execution, self.paused, self.clock) or rests_long(execution, self.clock):
            execution.leave()
            execution.on_durable(partial(self._left, execution))

    def _left(self, execution: Execution) -> None:
        """Forget a run that rests in the table now, unless something came meanwhile."""
        if not self.holds(execution):
            return
        if is_held_up(execution, self.paused, self.clock) or execution.resting:
            due = execution.look_at
            paused = is_paused(execution, self.paused)
            if due is not None and not paused and due <= (self.outside_due or due):
                self.outside_due = due
                self.timers_changed.beat()
            self.forget(execution)
        else:
            execution.keep()
            self._touch(execution)

    # -- small things ------------------------------------------------------------------

    def _let_in(self, execution: Execution) -> None:
        if execution.held:
            return
        self.runs[execution.id] = execution
        self.residence.enter(execution.id, input_bytes=len(execution.input))
        execution.held = True

    def _push(self, execution: Execution, name: str) -> None:
        heapq.heappush(self._ready, (execution.rank, next(self._order), execution, name))

    def _watch(self, execution: Execution, moment: datetime) -> None:
        self._timers.watch(execution.id, moment)
        self.timers_changed.beat()


_AT_REST = frozenset({RunState.WAITING, RunState.PAUSED, RunState.BLOCKED})
