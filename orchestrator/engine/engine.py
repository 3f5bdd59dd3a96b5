"""One tenant's engine: holds its live runs, and lets nothing happen before it is durable.

The way of a run: `submit` stores it and its first started tasks in one flush; after the commit the
attempts run; each outcome is recorded, the next tasks are planned and granted slots, and both ride
in the next flush. `board` decides, `commit` writes, `table` reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID
from weakref import WeakSet

import anyio
import msgspec
import structlog

from orchestrator.engine import entries
from orchestrator.engine.admission import Admission
from orchestrator.engine.attempts import Attempts
from orchestrator.engine.board import Board
from orchestrator.engine.commit import GroupCommit, Note
from orchestrator.engine.control import Verb, prefix
from orchestrator.engine.execution import Execution
from orchestrator.engine.intake import Accepted, accept
from orchestrator.engine.outcome import unstorable
from orchestrator.engine.port import Port
from orchestrator.engine.pulse import Pulse
from orchestrator.engine.reply import Reply
from orchestrator.engine.rest import starts_nothing
from orchestrator.engine.retention import Retention
from orchestrator.engine.schedules import Hooks, Schedules
from orchestrator.engine.slots import NodeSlots
from orchestrator.engine.submission import Submission, beside
from orchestrator.engine.table import Ask, AskPause, Fork, LookUp, Post, Table
from orchestrator.model.api import Started, StartRun
from orchestrator.model.clock import AnchoredClock
from orchestrator.model.errors import (
    InsulaError,
    InvalidInput,
    QuotaExceeded,
    RunConflict,
    RunRefused,
    TenantRestarted,
)
from orchestrator.model.states import RunState
from orchestrator.model.text import line_problem
from orchestrator.quota.alerts import Level, levels
from orchestrator.quota.limits import Usage, counted_span
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.tenant.journal import Fired, Key, Known, Sent, keys_of
from orchestrator.store.tenant.owned import OwnedConnection
from orchestrator.store.tenant.runs import Pause, RunEnd
from orchestrator.workflow.registry import Registry

LAST_FLUSH_SECONDS = 2.0
"""How long an engine that is stopped waits for the flush under way."""

log = structlog.get_logger(__name__)


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
        self._usage = Usage()
        self._submissions: dict[UUID, Submission] = {}
        # Whoever waits holds the reply: those that nobody waits for any more leave by themselves.
        self._owed: WeakSet[Reply[Any]] = WeakSet()
        admission = Admission(config, self._usage, lambda: self.now)
        self._commit = GroupCommit(owned, self, admission)
        self._board = Board(config, attempts, slots, touch=self._commit.touch, on_gone=self._gone)
        self._table = Table(
            self._board,
            owned,
            registry,
            epoch=epoch,
            touch=self._commit.touch,
            add_fork=self._add_fork,
        )
        self._port = Port(self._board, self._table, self._attempts, self._accept, self._commit)
        hooks = Hooks(
            now=lambda: self.now,
            start=self._start_fired,
            note=lambda fired: self._commit.touch(Note(fired)),
            arm=self._arm_schedules,
        )
        self.schedules = Schedules(config, owned.schedules, hooks)
        self._retention = Retention(config, owned.retention, lambda: self.now)

    # -- asked from outside ------------------------------------------------------------

    def submit(self, runs: Sequence[StartRun], reply: Reply[list[Started]]) -> None:
        """Accept `runs` and answer once all are durable; a refusal is answered at once."""
        self._owed.add(reply)
        try:
            self._store(self._accept(runs), reply)
        except QuotaExceeded as error:
            keys = keys_of(runs)
            if keys:
                self._table.look_up(LookUp(keys, reply, partial(self._store_rest, runs, reply)))
            else:
                reply.fail(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's answer
            reply.fail(error)

    def send(self, sent: Sent, reply: Reply[None]) -> None:
        """Deliver a signal and answer once it is durable."""
        if self._takes(reply, name=sent.name, key=sent.key or ""):
            self._table.post(Post(sent, reply))

    def control(self, run: UUID, verb: Verb, reason: str, reply: Reply[RunState]) -> None:
        """Do something to one run and answer with its state once that is durable."""
        if self._takes(reply, reason=reason):
            self._table.ask(Ask(run, verb, reason, reply))

    def fork(self, run: UUID, task: str | None, reply: Reply[list[Started]]) -> None:
        """Repeat a run from a task on, or as a whole; answer as `submit`."""
        if self._takes(reply, task=task or ""):
            self._table.fork(Fork(run, task, reply))

    def set_pause(
        self, workflow: str, reply: Reply[None], *, paused: bool, reason: str = ""
    ) -> None:
        """Let a workflow, or with '' the whole tenant, start nothing for now, or again."""
        if self._takes(reply, workflow=workflow, reason=reason):
            self._table.set_pause(AskPause(workflow, paused, reason, reply))

    @property
    def pauses(self) -> Sequence[Pause]:
        """What starts nothing for now: workflows, or '' for all of them."""
        return self._table.pauses

    def poke(self) -> None:
        """Look for runs that came from outside."""
        self._table.wake()

    def reconfigured(self) -> None:
        """Apply the limits of a changed configuration to what waits, and its schedules."""
        self._usage.forget_refusal()
        self._board.reconfigured()
        self._table.wake()  # to count what is queued anew
        self.schedules.reconfigured()

    @property
    def busy(self) -> bool:
        """True while there is anything to do before the next timer."""
        return bool(
            self._submissions
            or self._table.busy
            or self._board.busy
            or self.schedules.busy
            or not self._commit.idle
        )

    @property
    def next_due(self) -> datetime | None:
        """When the next timer of the tenant fires (the database's time)."""
        return self._board.next_due

    @property
    def now(self) -> datetime:
        """The database's time, carried forward."""
        return self._board.clock.now()

    @property
    def changed(self) -> Pulse:
        """Beats when something ended."""
        return self._board.changed

    @property
    def flushes(self) -> int:
        """How many statements the group commit has sent."""
        return self._commit.flushes

    @property
    def rows(self) -> int:
        """How many rows those have written."""
        return self._commit.rows

    @property
    def held_up_since(self) -> datetime | None:
        """Since when what is to be written waits for what somebody else has locked."""
        return self._owned.held_up_since

    @property
    def levels(self) -> list[Level]:
        """How much of each limit is used, of those that warn before they are reached."""
        self._usage.queued = self._queued
        running = self._board.running
        return levels(self._config().limits, self._usage, running=running, now=self.now)

    @property
    def _queued(self) -> int:
        return self._table.queued + len(self._board.unstarted)

    @property
    def running_tasks(self) -> int:
        """How many attempts hold a slot."""
        return self._board.used_slots

    def attempt_of(self, task: asyncio.Task[Any]) -> tuple[UUID, str] | None:
        """Return the run and the name of the task whose attempt `task` runs; from any thread."""
        return self._board.group.attempt_of(task)

    # -- life --------------------------------------------------------------------------

    async def recover(self, clock: AnchoredClock, *, crashed: bool = False) -> int:
        """Take over the runs that a former owner left; return how many.

        `crashed` when that owner did not end of its own accord.
        """
        self._board.clock = self._owned.clock = clock
        clock.on_step = self._board.timers_changed.beat
        left = await self._owned.inherited(counted_span(self._config().limits))
        self._usage.recall(self._config().limits, left.accepted, self.now)
        await self.schedules.recover()
        return await self._table.recover(left.orphans, crashed=crashed)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run while the body does.

        At its end the attempts under way are cancelled, never half recorded.
        """
        self._owned.patient = True
        try:
            async with anyio.create_task_group() as group:
                self._board.open(self._port)
                group.start_soon(self._board.group.run, name="attempts")
                group.start_soon(self._commit.run, name="commit")
                group.start_soon(self._table.run, name="table")
                group.start_soon(self.schedules.run, self.changed.beat, name="schedules")
                group.start_soon(self._timer_loop, name="timers")
                group.start_soon(self._retention.run, name="retention")
                group.start_soon(self._retention.sweep_cache, name="cache sweep")
                group.start_soon(self._bound_last_flush, name="last flush")
                yield
                group.cancel_scope.cancel()
        finally:
            self._board.close()
            self._give_up()

    async def _bound_last_flush(self) -> None:
        """When all is cancelled, let what is being written end, unless the server is silent."""
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                with anyio.move_on_after(LAST_FLUSH_SECONDS) as deadline:
                    await self._commit.ended.wait()
                    await self._table.ended.wait()
                if deadline.cancelled_caught:
                    await self._owned.close()

    async def drain(self) -> None:
        """Start nothing more and return when the attempts under way have ended and are durable."""
        self._board.accepting = False
        while self._board.used_slots or not self._commit.idle:
            await self.changed.wait()

    def tick(self) -> None:
        """Let go on what has rested long enough."""
        self._board.tick()
        due = self._board.outside_due
        if due is not None and due <= self.now:
            self._board.outside_due = None
            self._table.wake()
        due = self._board.schedule_due
        if due is not None and due <= self.now:
            self.schedules.tick()

    # -- told by the commit loop -------------------------------------------------------

    def flushed(self) -> None:
        """Let whoever waits for quiet look again."""
        self.changed.beat()

    def is_known(self, execution: Execution, stored: Known) -> None:
        """Answer with the run that has the new one's key."""
        self._usage.take_back(self._config().limits)
        self._board.forget(execution)
        if self._board.paused:
            # To ask who has the key took a statement: a look that came between has counted what
            # the flush has stored, and is counted here again.
            self._table.wake()
        self.schedules.ended(execution.id)
        self._answer(execution.id, Started(id=stored.id, state=RunState(stored.state), known=True))

    def is_refused(self, execution: Execution, error: Exception, *, new: bool) -> None:
        """Fail the one run that the database would not store; the others go on."""
        self._board.forget_starts(execution)
        if new:
            submission = self._submissions.pop(execution.id, None)
            self._usage.take_back(self._config().limits)
            self._board.forget(execution)
            self.schedules.refused(execution.id, error)
            if isinstance(error, QuotaExceeded):
                self._usage.refused(error, self.now)
            if submission is not None:
                submission.fail(_refusal(error))
            return
        if execution.refusals == 1:
            self._board.end(execution, entries.RunFailed(error=unstorable(error)))
        else:
            # Not even its failure can be stored: it is left as it is to the next owner.
            log.error("run.stuck", run=str(execution.id), error=str(error))
            self._board.forget(execution)

    # -- inside ------------------------------------------------------------------------

    def _takes(self, reply: Reply[Any], **texts: str) -> bool:
        """Owe `reply` an answer; the answer is why not when the database can not hold a text."""
        self._owed.add(reply)
        found = ((name, line_problem(text)) for name, text in texts.items())
        problems = [f"$.{name}: {problem}" for name, problem in found if problem]
        if problems:
            reply.fail(InvalidInput("; ".join(problems), data={"problems": problems}))
        return not problems

    def _accept(self, runs: Sequence[StartRun]) -> list[Accepted]:
        """Return `runs` ready to be stored, counted against the limits; raises why not."""
        self._usage.queued = self._queued
        accepted = accept(runs, self._config(), self._registry, self._usage, now=self.now)
        self._usage.accepted(self._config().limits, len(accepted), self.now)
        return accepted

    def _store_rest(
        self, runs: Sequence[StartRun], reply: Reply[list[Started]], known: Mapping[Key, Started]
    ) -> None:
        """Accept those of `runs` that are not there already; raises why not.

        Over a limit the same key still means the same run.
        """
        self._store(beside(known, runs, self._accept), reply)

    def _store(self, runs: Sequence[Accepted | Started], reply: Reply[list[Started]]) -> None:
        submission = Submission(reply, runs)
        added = []
        for run in runs:
            if isinstance(run, Accepted):
                self._submissions[run.id] = submission
                added.append(self._add(run))
        self._commit.keep_together(added)
        self._board.dispatch()

    def _add(self, run: Accepted, fired: Fired | None = None) -> Execution:
        paused = starts_nothing(run.workflow.name, self._board.paused)
        held = run.due_at is None and not paused and self._table.has_room_for_one
        row = run.row(epoch=self._epoch if held else 0, now=self.now)
        execution = Execution(row, run.workflow, epoch=row.epoch)
        execution.fired = fired
        execution.on_durable(partial(self._stored, execution, run))
        if held:
            self._board.hold(execution)
        elif run.due_at is None:
            self._board.unstarted.add(execution)  # until the table counts it
        self._commit.touch(execution)
        return execution

    def _start_fired(self, run: StartRun, fired: Fired, reply: Reply[list[Started]] | None) -> UUID:
        (accepted,) = self._accept([run])
        if reply is not None:
            self._owed.add(reply)
            self._submissions[accepted.id] = Submission(reply, [accepted])
        self._add(accepted, fired)
        self._board.dispatch()
        return accepted.id

    def _arm_schedules(self, due: datetime | None) -> None:
        self._board.schedule_due = due
        self._board.timers_changed.beat()

    def _add_fork(self, source: Execution, fork: Fork) -> None:
        """Start a new run with the input of `source` and the tasks that it need not do again."""
        try:
            done = prefix(source, fork.task)
            run = StartRun(
                workflow=source.workflow.name,
                input=msgspec.json.decode(source.input),
                queue=source.queue,
            )
            (accepted,) = self._accept([run])
            if accepted.workflow is not source.workflow:
                raise RunConflict(f"run {source.id} is of version {source.workflow.version!r}")
        except InsulaError as error:
            fork.reply.fail(error)
            return
        self._submissions[accepted.id] = Submission(fork.reply, [accepted])
        execution = Execution(
            accepted.row(epoch=self._epoch, now=self.now), source.workflow, epoch=self._epoch
        )
        execution.on_durable(partial(self._stored, execution, accepted))
        shape = source.workflow.graph.shape
        execution.record(entries.RunStarted(shape=shape, origin=source.id))
        for entry in done:
            execution.record(entry)
        self._board.take_up(execution, crashed=False)
        self._commit.touch(execution)

    def _stored(self, execution: Execution, run: Accepted) -> None:
        if not execution.held:
            self._board.unstarted.discard(execution)
        if execution.epoch == 0 and not execution.started:
            self._left_outside(run)
        self._answer(execution.id, Started(id=execution.id, state=execution.state))

    def _left_outside(self, run: Accepted) -> None:
        if run.due_at is None or run.due_at <= self.now:
            self._table.queued += 1
            # What is paused now is looked for by who resumes it.
            if not starts_nothing(run.workflow.name, self._board.paused):
                self._table.outside = True
                self._table.wake()
        elif self._board.outside_due is None or run.due_at < self._board.outside_due:
            self._board.outside_due = run.due_at
            self._board.timers_changed.beat()

    def _answer(self, run: UUID, started: Started) -> None:
        submission = self._submissions.pop(run, None)
        if submission is not None:
            submission.stored(run, started)

    def _gone(self, execution: Execution) -> None:
        """Tell whom its end concerns, and use the room that it leaves."""
        if execution.state.finished:
            self._ended(execution)
        if self._table.outside and self._board.residence.has_room_for_a_lot:
            self._table.wake()

    def _ended(self, execution: Execution) -> None:
        """Tell the parent and the schedule, and cancel dependent children."""
        self.schedules.ended(execution.id)
        if execution.parent_id is not None:
            self._table.child_ended(execution.parent_id, _end_of(execution))
        for child, on_close in execution.children.items():
            if on_close == "cancel" and child not in execution.ended:
                self.control(child, Verb.CANCEL, f"its parent {execution.id} ended", Reply())

    def _give_up(self) -> None:
        """Answer everyone who still waits: their runs may or may not have been stored."""
        error = TenantRestarted(
            "the tenant's supervisor stopped before the answer; the outcome is unknown",
            hint="send the request again with the same idempotency key",
        )
        for reply in list(self._owed):
            reply.fail(error)
        self._submissions.clear()
        self.schedules.give_up(error)

    async def _timer_loop(self) -> None:
        while True:
            due = self.next_due
            pause = None if due is None else max(0.0, (due - self.now).total_seconds())
            with anyio.move_on_after(pause):
                await self._board.timers_changed.wait()
            self.tick()


def _refusal(error: Exception) -> InsulaError:
    if isinstance(error, InsulaError):
        return error
    return RunRefused(f"the database refused the run: {error}")


def _end_of(execution: Execution) -> RunEnd:
    succeeded = execution.state is RunState.SUCCEEDED
    error = execution.error
    return RunEnd(
        id=execution.id,
        state=execution.state,
        output=execution.output().decode() if succeeded else None,
        error=msgspec.json.encode(error).decode() if error is not None else None,
    )
