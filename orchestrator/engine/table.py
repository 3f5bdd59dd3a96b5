"""Between the table and the board: claims runs, delivers signals, serves what is asked of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import anyio
import structlog

from orchestrator.engine import entries
from orchestrator.engine.board import Board
from orchestrator.engine.control import Verb, decide
from orchestrator.engine.execution import Execution
from orchestrator.engine.reply import Reply
from orchestrator.engine.submission import by_key
from orchestrator.model.api import Failure, Started
from orchestrator.model.errors import InsulaError, RunConflict, RunNotFound
from orchestrator.model.states import RunState
from orchestrator.store.tenant.journal import Key, Sent
from orchestrator.store.tenant.owned import OwnedConnection
from orchestrator.store.tenant.runs import Claimed, Orphan, Pause, RunEnd, Signal
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.registry import Registry

CLAIMED_AT_ONCE = 1_000

SIGNALS_AT_ONCE = 500

LOOK_AGAIN = timedelta(milliseconds=50)
"""How soon the table is looked at again for what was not there, or not due, a moment ago."""

LOOK_FOR_ROOM = timedelta(seconds=1)
"""How soon runs are fetched for less room than a lot: nobody may wait for the runs of others."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ask:
    """Something to do to one run; answered with the run's state when it is durable."""

    run: UUID
    verb: Verb
    reason: str
    reply: Reply[RunState]


@dataclass(frozen=True, slots=True)
class Post:
    """A signal to deliver; answered when it is durable."""

    sent: Sent
    reply: Reply[None]


@dataclass(frozen=True, slots=True)
class AskPause:
    """Somebody wants a workflow, or with '' the tenant, to start nothing for now, or again."""

    workflow: str
    paused: bool
    reason: str
    reply: Reply[None]


@dataclass(frozen=True, slots=True)
class Fork:
    """A run to repeat: from task `task` on, or as a whole; answered as a submit."""

    run: UUID
    task: str | None
    reply: Reply[list[Started]]


@dataclass(frozen=True, slots=True)
class LookUp:
    """Keys whose runs are wanted: `found` gets those that are there; what it raises is answered."""

    keys: Sequence[Key]
    reply: Reply[list[Started]]
    found: Callable[[Mapping[Key, Started]], None]


class Table:
    """The one loop that reads the tenant's tables; all it finds goes to the board."""

    def __init__(
        self,
        board: Board,
        owned: OwnedConnection,
        registry: Registry,
        *,
        epoch: int,
        touch: Callable[[Execution], None],
        add_fork: Callable[[Execution, Fork], None],
    ) -> None:
        self._add_fork = add_fork
        self._board = board
        self._owned = owned
        self._registry = registry
        self._epoch = epoch
        self._touch = touch
        self._asks: list[Ask] = []
        self._posts: list[Post] = []
        self._forks: list[Fork] = []
        self._look_ups: list[LookUp] = []
        self.pauses: list[Pause] = []
        self._pauses: list[AskPause] = []
        self._wanted = anyio.Event()
        self._working = False
        self.ended = anyio.Event()
        self.outside = False
        self.queued = 0
        # Also for what is claimed later: a task that its journal left running was the former
        # owner's, since none of ours goes to the table while it runs.
        self._crashed = False

    # -- asked -------------------------------------------------------------------------

    def wake(self) -> None:
        """Look at the tables soon."""
        self._wanted.set()

    def ask(self, ask: Ask) -> None:
        """Do something to one run; at once when it is here."""
        run = self._board.runs.get(ask.run)
        if run is not None and run.state is RunState.BLOCKED:
            run.on_durable(lambda: self.ask(ask))  # it is about to leave; then it is fetched again
            self._touch(run)
        elif run is not None:
            self._apply(run, ask)
        else:
            self._asks.append(ask)
            self.wake()

    def post(self, post: Post) -> None:
        """Deliver a signal."""
        self._posts.append(post)
        self.wake()

    def set_pause(self, ask: AskPause) -> None:
        """Let a workflow, or the tenant, start nothing, or again."""
        self._pauses.append(ask)
        self.wake()

    def fork(self, fork: Fork) -> None:
        """Repeat a run."""
        self._forks.append(fork)
        self.wake()

    def look_up(self, look_up: LookUp) -> None:
        """Find the runs that hold certain keys."""
        self._look_ups.append(look_up)
        self.wake()

    @property
    def has_room_for_one(self) -> bool:
        """Whether a new run may come into memory at once.

        While others wait in the table only if there is room for many of them too: in memory the
        most urgent, or oldest, goes first, so it overtakes none for long.
        """
        residence = self._board.residence
        return residence.has_room_for_a_lot if self.outside else residence.room > 0

    @property
    def busy(self) -> bool:
        """True while there is anything to do here."""
        asked = self._asks or self._posts or self._pauses
        waiting = asked or self._forks or self._look_ups
        return bool(self.outside or self._working or waiting or self._wanted.is_set())

    # -- doing -------------------------------------------------------------------------

    async def run(self) -> None:
        """Work whenever woken, until cancelled; then set `ended`."""
        try:
            while True:
                await self._wanted.wait()
                self._wanted = anyio.Event()
                self._working = True
                await self._work()
                self._working = False
                self._board.changed.beat()
        finally:
            self.ended.set()

    async def recover(self, orphans: Sequence[Orphan], *, crashed: bool) -> int:
        """Take over what a former owner left; return how many runs."""
        self.pauses = await self._owned.pauses()
        self._board.paused = {pause.workflow for pause in self.pauses}
        self._crashed = crashed
        found = await self._claim()
        await self._end_orphans(orphans)
        await self._look_outside()
        return found

    async def _work(self) -> None:
        await self._change_pauses()
        await self._deliver()
        await self._fetch_asked()
        await self._copy_forks()
        await self._find_known()
        if self._board.accepting:
            if self._board.residence.room:
                await self._claim()
            await self._look_outside()
        self._board.dispatch()

    async def _end_orphans(self, orphans: Sequence[Orphan]) -> None:
        """Cancel the children of runs at whose end the former owner died."""
        parents = list({orphan.parent_id for orphan in orphans})
        tied: set[UUID] = set()
        for part in await self._owned.entries(parents) if parents else ():
            for entry in entries.decode(part.entries):
                if isinstance(entry, entries.ChildStarted) and entry.on_close == "cancel":
                    tied.add(entry.child)
        for orphan in orphans:
            if orphan.id in tied:
                reason = f"its parent {orphan.parent_id} ended"
                self.ask(Ask(orphan.id, Verb.CANCEL, reason, Reply()))

    async def _look_outside(self) -> None:
        outside = await self._owned.outside(count_to=self._board.limits.max_queue_length or 0)
        self.outside = outside.waiting
        if outside.blocked:
            self.wake()  # there may be more of them than were parked at once
        self.queued = outside.queued
        # Never sooner than a little later: the clocks may differ, and looking costs.
        soonest = self._board.clock.now() + LOOK_AGAIN
        due = outside.due_at
        self._board.outside_due = None if due is None else max(due, soonest)
        if self.outside and self._board.residence.has_room_for_a_lot:
            self._board.outside_due = soonest  # came after the last claim
        elif self.outside:
            look = self._board.clock.now() + LOOK_FOR_ROOM
            self._board.outside_due = min(look, self._board.outside_due or look)
        self._board.timers_changed.beat()

    async def _claim(self) -> int:
        claimed = await self._owned.claim(min(self._board.residence.room, CLAIMED_AT_ONCE))
        fresh = [run for run in claimed if run.id not in self._board.runs]
        fresh.sort(key=lambda run: (run.rank, run.id))
        for execution in await self._load(fresh):
            self._board.take_up(execution, crashed=self._crashed)
        return len(fresh)

    async def _load(self, claimed: Sequence[Claimed]) -> list[Execution]:
        """Fold the journals of claimed runs; those that the code here does not fit are blocked."""
        if not claimed:
            return []
        loaded: dict[UUID, Execution] = {}
        for run in claimed:
            workflow = self._registry.serving(run.workflow, run.version)
            if workflow is not None:
                loaded[run.id] = Execution(run, workflow, epoch=self._epoch)
        broken: dict[UUID, str] = {}
        for row in await self._owned.entries(list(loaded)):
            try:
                loaded[row.run_id].replay(row.seq, row.entries)
            except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this run alone
                broken[row.run_id] = f"the journal does not fit the workflow: {_told(error)}"
        await self._load_news(loaded)
        fitting = []
        for execution in loaded.values():
            reason = broken.get(execution.id) or execution.mismatch
            if reason is None:
                fitting.append(execution)
            else:
                self._board.block(execution, Failure(type="WorkflowChanged", message=reason))
        return fitting

    async def _load_news(self, loaded: dict[UUID, Execution]) -> None:
        """Add what came while the runs were not here: signals, and children that ended."""
        if not loaded:
            return
        for signal in await self._owned.signals(list(loaded)):
            loaded[signal.run_id].inbox.append(signal)
        parents = {child: run for run in loaded.values() for child in run.children}
        if parents:
            for end in await self._owned.ended(list(parents)):
                parents[end.id].ended[end.id] = end

    # -- signals -----------------------------------------------------------------------

    async def _deliver(self) -> None:
        posts, self._posts = self._posts[:SIGNALS_AT_ONCE], self._posts[SIGNALS_AT_ONCE:]
        if not posts:
            return
        with anyio.CancelScope(shield=True):
            delivered = await self._owned.send([post.sent for post in posts])
        for post in posts:
            if post.sent.run_id in delivered.live:
                if post.sent.id in delivered.left:
                    self._hand_over(post.sent)
                post.reply.answer(None)
            else:
                run = post.sent.run_id
                error = RunConflict(f"run {run} is finished, or was never there")
                post.reply.fail(error)
        if self._posts:
            self.wake()

    def _hand_over(self, sent: Sent) -> None:
        run = self._board.runs.get(sent.run_id)
        known = run is not None and any(signal.id == sent.id for signal in run.inbox)
        if run is not None and not known:
            run.inbox.append(Signal(sent.run_id, sent.id, sent.name, sent.payload))
            self._board.resume_parked(run)

    def child_ended(self, parent: UUID, end: RunEnd) -> None:
        """Tell a parent that is here; one that rests was nudged in the child's last flush."""
        run = self._board.runs.get(parent)
        if run is not None:
            run.ended[end.id] = end
            self._board.resume_parked(run)
            self._board.dispatch()
        else:
            self.wake()

    async def end_of(self, run: UUID) -> RunEnd | None:
        """Return how a run ended; None when it has not, or is not there."""
        return next(iter(await self._owned.ended([run])), None)

    # -- single runs -------------------------------------------------------------------

    async def _fetch_asked(self) -> None:
        asks, self._asks = self._asks, []
        if not asks:
            return
        wanted = {ask.run for ask in asks if ask.run not in self._board.runs}
        claimed = await self._owned.claim_these(list(wanted)) if wanted else []
        fetched = {run.id: run for run in await self._load(claimed)}
        for execution in fetched.values():
            if not execution.state.finished:
                self._board.take_up(execution, crashed=self._crashed)
        for unfit in [run for run in claimed if run.id not in fetched]:
            fetched[unfit.id] = await self._read_unfit(unfit)
        for ask in asks:
            run = self._board.runs.get(ask.run) or fetched.get(ask.run)
            if run is None:
                ask.reply.fail(RunNotFound(f"there is no run {ask.run} that can be changed here"))
            else:
                self._apply(run, ask)

    async def _read_unfit(self, row: Claimed) -> Execution:
        """Return a run that the code here can not continue: it can only be cancelled."""
        run = Execution(row, Workflow(row.workflow, version=row.version or "1"), epoch=self._epoch)
        run.state = RunState(row.state)
        for part in await self._owned.entries([row.id]):
            try:
                run.replay(part.seq, part.entries, tasks=False)
            except Exception as error:  # noqa: BLE001 - nothing more of it can be read
                log.warning("run.unreadable", run=str(row.id), error=_told(error))
                break
        return run

    def _apply(self, run: Execution, ask: Ask) -> None:
        try:
            if not run.workflow.tasks and ask.verb is not Verb.CANCEL:
                raise RunConflict(f"the code here can not continue run {run.id}; see its error")
            entry = decide(ask.verb, run, reason=ask.reason)
        except InsulaError as error:
            ask.reply.fail(error)
            return
        run.on_durable(lambda: ask.reply.answer(run.state))
        if entry is None:
            self._touch(run)
        elif isinstance(entry, entries.RunCancelled):
            self._board.end(run, entry)
        elif isinstance(entry, entries.RunRetried):
            run.record(entry)
            self._board.take_up(run, crashed=False)
            self._board.dispatch()
        else:
            run.record(entry)
            self._board.resume(run)

    async def _copy_forks(self) -> None:
        forks, self._forks = self._forks, []
        for fork in forks:
            row = await self._owned.peek(fork.run)
            workflow = self._registry.serving(row.workflow, row.version) if row else None
            if row is None or workflow is None:
                fork.reply.fail(
                    RunNotFound(f"there is no run {fork.run} that can be repeated here")
                )
                continue
            source = Execution(row, workflow, epoch=self._epoch)
            # Repeated as a whole, it needs nothing of what its tasks were.
            parts = await self._owned.entries([fork.run]) if fork.task else []
            try:
                for part in parts:
                    source.replay(part.seq, part.entries)
                self._add_fork(source, fork)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's answer
                sentence = f"run {fork.run} can not be repeated: {_told(error)}"
                fork.reply.fail(RunConflict(sentence))

    async def _find_known(self) -> None:
        look_ups, self._look_ups = self._look_ups, []
        for wanted in look_ups:
            known = by_key(await self._owned.known([], wanted.keys))
            try:
                wanted.found(known)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's answer
                wanted.reply.fail(error)

    async def _change_pauses(self) -> None:
        asked, self._pauses = self._pauses, []
        for ask in asked:
            await self._owned.set_pause(ask.workflow, paused=ask.paused, reason=ask.reason)
            self.pauses = await self._owned.pauses()
            self._board.set_paused({pause.workflow for pause in self.pauses})
            ask.reply.answer(None)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
