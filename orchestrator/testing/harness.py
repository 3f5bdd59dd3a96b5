"""Runs a workflow in memory, by a clock that the test moves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack
from uuid import UUID

import anyio
import anyio.lowlevel
import msgspec

from orchestrator.engine.control import Verb
from orchestrator.engine.engine import Engine
from orchestrator.engine.intake import accept
from orchestrator.engine.reply import Reply
from orchestrator.engine.slots import NodeSlots
from orchestrator.engine.views import events_of, view_of
from orchestrator.model.api import EventView, Failure, RunView, StartRun, TaskView
from orchestrator.model.clock import AnchoredClock
from orchestrator.model.ids import parse_tenant_id
from orchestrator.model.states import RunState
from orchestrator.model.values import to_json
from orchestrator.quota.limits import Usage
from orchestrator.settings.duration import Duration
from orchestrator.settings.model import Limits
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.tenant.journal import Sent
from orchestrator.testing.attempts import KitAttempts, TaskName
from orchestrator.testing.clock import MovedClock
from orchestrator.testing.table import EPOCH, MemoryTable
from orchestrator.workflow.context import Database, TenantInfo
from orchestrator.workflow.define import AnyTask, Workflow
from orchestrator.workflow.registry import Registry

Span = str | float | timedelta
Stub = Callable[..., Any]

START = datetime(2026, 1, 1, tzinfo=UTC)
SLOTS = 1_000
LOOP_TURNS = 50
"""So many turns of the event loop are more than a flush and all that follows from it take."""


class Harness:
    """One run of a workflow, in memory: what it does is what the engine does.

    Nothing moves but what can move now: time stands still until `advance` or `finish` moves it, and
    both stop at each timer on the way, so a retry happens when it is due. `children` are the
    workflows that tasks start, by name; a function stands for a workflow of that one task. `stub`
    puts functions in the place of tasks, which take the context and, by name, what they need of the
    input. `database` is what tasks get as `ctx.db`, `secrets` what `ctx.secret` finds, by name.

    >>> approval = Workflow("approval")
    >>> @approval.task()
    ... async def ask(ctx: Context) -> str:
    ...     return await ctx.wait_signal("approved", timeout="2d")
    >>> async def test_it_takes_the_name() -> None:
    ...     async with Harness(approval) as run:
    ...         await run.advance("1h")
    ...         await run.signal("approved", "ann")
    ...         assert run.output == "ann"
    >>> asyncio.run(test_it_takes_the_name())
    """

    def __init__(  # noqa: PLR0913 - all by name; a test gives the few it needs
        self,
        workflow: Workflow,
        *,
        input: Mapping[str, Any] | None = None,
        tenant: TenantInfo | str = "test",
        database: Database | None = None,
        children: Mapping[str, Workflow | Stub] | None = None,
        stub: Mapping[AnyTask | str, Stub] | None = None,
        deadline: str | None = None,
        start: datetime = START,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        """Raise InvalidInput, with every path, when `input` does not fit the workflow."""
        others = [_child(name, each) for name, each in (children or {}).items()]
        config = _config(TenantInfo(id=tenant, name=tenant) if isinstance(tenant, str) else tenant)
        self._registry = Registry.of([workflow, *others])
        self._clock = MovedClock(start)
        self._began = start
        self._numbers = itertools.count(1)
        self._table = MemoryTable(self._clock)
        stubs = _stubs(workflow, [workflow, *others], stub or {})
        self._attempts = KitAttempts(
            config, database, stubs, self._clock, self._new_id, secrets or {}
        )
        self._engine = Engine(
            lambda: config,
            self._registry,
            self._table,
            self._attempts,
            NodeSlots(SLOTS),
            epoch=EPOCH,
        )
        self._attempts.on_rest = self._engine.changed.beat
        wanted = StartRun(workflow=workflow.name, input=dict(input or {}), deadline=deadline)
        (run,) = accept([wanted], config, self._registry, Usage(), now=start)
        self._run = self._new_id()
        self._row = msgspec.structs.replace(run.row(epoch=0, now=start), id=self._run)
        self._table.add(self._row)
        self._end = asyncio.Event()
        self._host: asyncio.Task[None] | None = None

    # -- life --------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start the engine; the run is queued."""
        ready = asyncio.Event()
        # A task of its own: a fixture may enter and leave the block in two different tasks.
        self._host = asyncio.create_task(self._serve(ready), name="engine")
        await ready.wait()
        self._check_host()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the engine. Attempts under way are cancelled."""
        self._end.set()
        if self._host is not None:
            await self._host

    async def _serve(self, ready: asyncio.Event) -> None:
        try:
            await self._engine.recover(AnchoredClock(self._clock.now(), self._clock))
            async with self._engine.running():
                ready.set()
                await self._end.wait()
        finally:
            ready.set()
            self._engine.changed.beat()

    # -- moving ------------------------------------------------------------------------

    async def until_idle(self) -> None:
        """Return when nothing can move before time does, or a signal comes.

        What tasks really wait for, such as a thread or a socket, is waited for.
        """
        self._check_host()
        while not await self._only_sleeps() and self._engine.busy:
            await self._engine.changed.wait()
            self._check_host()

    async def advance(self, span: Span) -> None:
        """Let `span` pass ("90s", seconds or a timedelta), and happen what follows from it."""
        await self._pass_until(self.now + _span(span))

    async def finish(self, *, within: Span = "400d") -> None:
        """Let time pass until the run has ended or only a signal can move it, at most `within`."""
        await self._pass_until(self.now + _span(within), stay=True)

    async def signal(self, name: str, payload: Any = None, *, to: UUID | None = None) -> None:
        """Send a signal to the run, or to a child of it, and let happen what follows.

        RunConflict when that run has ended.
        """
        self._check_host()
        reply: Reply[None] = Reply()
        text = to_json("the payload", payload).decode()
        self._engine.send(Sent(to or self._run, self._new_id(), name, None, text), reply)
        await self._settled(reply)

    async def cancel(self, reason: str = "") -> None:
        """Cancel the run; RunConflict when it has ended."""
        await self._control(Verb.CANCEL, reason)

    async def pause(self) -> None:
        """Let the run start nothing more; RunConflict when it has ended."""
        await self._control(Verb.PAUSE)

    async def resume(self) -> None:
        """Let a paused run go on; RunConflict when it has ended."""
        await self._control(Verb.RESUME)

    async def retry(self) -> None:
        """Let a failed run go on from the tasks that failed; RunConflict when it has not."""
        await self._control(Verb.RETRY)

    # -- what there is to see ----------------------------------------------------------

    @property
    def id(self) -> UUID:
        """The run's id: the first in each harness, so a test may compare it."""
        return self._run

    @property
    def now(self) -> datetime:
        """The time of the clock."""
        return self._clock.now()

    @property
    def elapsed(self) -> timedelta:
        """How far the clock has been moved."""
        return self.now - self._began

    @property
    def view(self) -> RunView:
        """Everything about the run, as `insula run show` and the clients have it."""
        return self._view(self._run)

    @property
    def state(self) -> RunState:
        """Where the run stands; compares with its name: `run.state == "waiting"`."""
        return self.view.state

    @property
    def output(self) -> Any:
        """What the run gave; None until it has succeeded."""
        return self.view.output

    @property
    def context(self) -> dict[str, Any] | None:
        """The input and what tasks have set; None until the run has ended."""
        return self.view.context

    @property
    def error(self) -> Failure | None:
        """Why the run failed or is blocked."""
        return self.view.error

    @property
    def tasks(self) -> dict[str, TaskView]:
        """The tasks by name: state, attempt, output, error."""
        return {task.name: task for task in self.view.tasks}

    @property
    def children(self) -> list[RunView]:
        """The runs that tasks have started, theirs too, in that order."""
        return [self._view(run) for run in self._table.rows if run != self._run]

    @property
    def history(self) -> list[EventView]:
        """What happened to the run, as `insula run events` lists it; `replay` takes it."""
        return events_of(self._table.rows[self._run].journal, -1)

    # -- inside ------------------------------------------------------------------------

    async def _only_sleeps(self) -> bool:
        """Tell whether all attempts under way sleep by the clock, and stay so."""
        for _ in range(LOOP_TURNS):
            if not 0 < self._attempts.resting == self._engine.running_tasks:
                return False
            await anyio.lowlevel.checkpoint()
        return True

    async def _pass_until(self, moment: datetime, *, stay: bool = False) -> None:
        """Go from timer to timer up to `moment`; with `stay` no further than anything happens."""
        await self.until_idle()
        while not (stay and self.state.finished):
            due_at = self._next_due
            if due_at is None or due_at > moment:
                break
            self._move(due_at)
            await self.until_idle()
        if not stay:
            self._move(moment)
            await self.until_idle()

    @property
    def _next_due(self) -> datetime | None:
        dues = (self._engine.next_due, self._clock.next_due)
        return min((due for due in dues if due is not None), default=None)

    def _move(self, moment: datetime) -> None:
        self._clock.move_to(moment)
        self._engine.tick()

    async def _control(self, verb: Verb, reason: str = "") -> None:
        self._check_host()
        reply: Reply[RunState] = Reply()
        self._engine.control(self._run, verb, reason, reply)
        await self._settled(reply)

    async def _settled(self, reply: Reply[Any]) -> None:
        await reply.wait()
        await self.until_idle()

    def _check_host(self) -> None:
        if self._host is None or self._end.is_set():
            raise RuntimeError("a run moves inside `async with Harness(…) as run` only")
        if self._host.done():
            self._host.result()

    def _view(self, run: UUID) -> RunView:
        row = self._table.rows[run]
        return view_of(row.stored(), row.journal, self._registry)

    def _new_id(self) -> UUID:
        return UUID(int=next(self._numbers))


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a run: `run_workflow` and `run_sync` return it."""

    state: RunState
    output: Any
    context: dict[str, Any] | None
    error: Failure | None
    tasks: dict[str, TaskView]
    children: list[RunView]
    history: list[EventView]
    elapsed: timedelta


class Given(TypedDict, total=False):
    """What `Harness` takes besides the workflow."""

    input: Mapping[str, Any]
    tenant: TenantInfo | str
    database: Database
    children: Mapping[str, Workflow | Stub]
    stub: Mapping[AnyTask | str, Stub]
    deadline: str
    start: datetime
    secrets: Mapping[str, str]


async def run_workflow(
    workflow: Workflow, *, signals: Mapping[str, Any] | None = None, **given: Unpack[Given]
) -> Finished:
    """Run a workflow to its end, letting all time pass that it takes, and return what became of it.

    `signals` are sent at once, by name; `given` is what `Harness` takes. A run that waits for a
    signal nobody sends is returned as it stands: `waiting`.
    """
    async with Harness(workflow, **given) as run:
        for name, payload in (signals or {}).items():
            await run.signal(name, payload)
        await run.finish()
        return Finished(
            state=run.state,
            output=run.output,
            context=run.context,
            error=run.error,
            tasks=run.tasks,
            children=run.children,
            history=run.history,
            elapsed=run.elapsed,
        )


def run_sync(
    workflow: Workflow, *, signals: Mapping[str, Any] | None = None, **given: Unpack[Given]
) -> Finished:
    """Do the same as `run_workflow` in a test that is not async.

    >>> greeting = Workflow("greeting")
    >>> @greeting.task()
    ... async def greet(ctx: Context, name: str) -> str:
    ...     await ctx.sleep("1d")
    ...     return f"Hello {name}"
    >>> done = run_sync(greeting, input={"name": "Ann"})
    >>> done.state, done.output, done.elapsed.days
    (<RunState.SUCCEEDED: 'succeeded'>, 'Hello Ann', 1)
    """
    return anyio.run(partial(run_workflow, workflow, signals=signals, **given))


def _config(tenant: TenantInfo) -> TenantConfig:
    return TenantConfig(
        id=parse_tenant_id(tenant.id),
        name=tenant.name,
        settings=tenant.settings,
        features=tenant.features,
        limits=msgspec.convert(tenant.limits, Limits),
        metadata=tenant.metadata,
    )


def _child(name: str, made: Workflow | Stub) -> Workflow:
    if not isinstance(made, Workflow):
        stand_in = Workflow(name)
        stand_in.task(name=name)(made)
        return stand_in
    if made.name != name:
        raise ValueError(f"children: {name!r} is given workflow {made.name!r}")
    return made


def _stubs(
    tested: Workflow, workflows: Sequence[Workflow], given: Mapping[AnyTask | str, Stub]
) -> dict[TaskName, Stub]:
    """Return the stubs by task; a name without a workflow is a task of the one under test."""
    known = {(workflow.name, task) for workflow in workflows for task in workflow.tasks}
    stubs: dict[TaskName, Stub] = {}
    for task, stub in given.items():
        of, name = (tested.name, task) if isinstance(task, str) else (task.workflow, task.name)
        if (of, name) not in known:
            raise ValueError(f"stub: workflow {of!r} has no task {name!r}")
        stubs[of, name] = stub
    return stubs


def _span(span: Span) -> timedelta:
    if isinstance(span, timedelta):
        return span
    return Duration.parse(span) if isinstance(span, str) else timedelta(seconds=span)
