"""The durable calls of one attempt, answered from the run's journal or recorded in it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import anyio
import anyio.lowlevel
import msgspec

from orchestrator.engine import entries
from orchestrator.engine.entries import AnyEntry
from orchestrator.engine.execution import Execution
from orchestrator.engine.failures import CallInTransaction, TaskExited
from orchestrator.engine.outcome import Succeeded, encode, exited
from orchestrator.engine.progress import Place, Step
from orchestrator.engine.pulse import Pulse
from orchestrator.engine.threads import in_thread
from orchestrator.model.api import Failure
from orchestrator.model.text import line_problem
from orchestrator.store.tenant.journal import Completion, NewRun
from orchestrator.store.tenant.runs import RunEnd
from orchestrator.workflow.durable import (
    AttemptOver,
    Child,
    ChildFailed,
    ChildRequest,
    OtherLoop,
)
from orchestrator.workflow.secret import Revealed, refuse_secrets

INLINE_SECONDS = 1.0
"""A sleep no longer than this keeps its slot; waking up again would cost more."""

UNSTORED_ITEMS = 1_000
"""How many results of a map may wait for a flush: what bounds its memory."""


class Parked(BaseException):
    """Ends an attempt that has to wait; no `except Exception` of user code catches it."""


class NonDeterminism(BaseException):
    """The code made other durable calls than the journal holds; nothing is guessed."""


class NestedCall(Exception):
    """A durable call was made inside a step or an item of a map: those are one call each."""


Write = Callable[[Completion], Awaitable[None]]
"""Commits a transaction together with the entries that say so."""


class Port(Protocol):
    """What the engine does for durable calls."""

    @property
    def now(self) -> datetime: ...
    @property
    def threads(self) -> anyio.CapacityLimiter: ...
    def touch(self, execution: Execution) -> None: ...
    def poke(self) -> None: ...
    def child_row(self, request: ChildRequest, parent: Execution) -> NewRun: ...
    async def end_of(self, run: UUID) -> RunEnd | None: ...
    async def complete(
        self, execution: Execution, name: str, result: Succeeded, write: Write
    ) -> bool: ...


class Durable:
    """Implements the durable calls of `Context` for one attempt.

    Calls may be made side by side, in tasks of a task group. Those that have to wait rest until all
    others have ended; then the attempt gives its slot back for all of them together.
    """

    # One is made for each attempt, though few make durable calls.
    __slots__ = (
        "_branches",
        "_diverged",
        "_execution",
        "_loop",
        "_next",
        "_open",
        "_parked",
        "_port",
        "_quiet",
        "_resting",
        "_task",
        "_working",
        "revealed",
    )

    def __init__(self, port: Port, execution: Execution, task: str) -> None:
        self._port = port
        self._execution = execution
        self._task = task
        self._branches: dict[asyncio.Task[Any] | None, int] = {}
        self._next: list[int] = []
        self._working = 0
        self._quiet: Pulse | None = None  # made by who waits: most attempts make no call
        self._resting: list[entries.TaskParked] = []
        self._parked = False
        self._diverged: str | None = None
        self._open = True
        self.revealed: Revealed | None = None
        self._loop = asyncio.get_running_loop()

    async def step(self, name: str, function: Callable[..., Any], args: Sequence[Any]) -> Any:
        """Call once; remember what it returned."""
        place, known = await self._place("step", name)
        if known is not None:
            return msgspec.json.decode(known.value)
        with self._work():
            raw = self._encode(await self._call(function, *args))
            branch, number = place
            await self._commit(entries.StepDone(self._task, number, name, raw, branch))
        return msgspec.json.decode(raw)

    async def sleep(self, span: timedelta) -> None:
        """Return when the time has passed; park while that is long."""
        (branch, number), known = await self._place("sleep", "")
        due_at = known.due_at if known is not None else None
        if due_at is None:
            due_at = self._port.now + span
            self._record(entries.SleepSet(self._task, number, due_at, branch))
        left = (due_at - self._port.now).total_seconds()
        if left > INLINE_SECONDS:
            raise await self._park(entries.TaskParked(self._task, due_at=due_at))
        with self._work():
            await anyio.sleep(max(0.0, left))

    async def wait_signal(self, name: str, timeout: timedelta | None) -> Any:  # noqa: ASYNC109 - durable
        """Return the payload of the next signal of that name; park until it comes."""
        (branch, number), known = await self._place("signal", name)
        if known is not None and known.done:
            return self._payload(known, name)
        for signal in self._execution.inbox:
            if signal.name == name:
                self._execution.take(signal)
                payload = msgspec.Raw(signal.payload.encode())
                await self._commit(
                    entries.SignalTaken(self._task, number, name, signal.id, payload, branch)
                )
                return msgspec.json.decode(payload)
        due_at = known.due_at if known is not None else None
        if known is None:
            due_at = None if timeout is None else self._port.now + timeout
            self._record(entries.SignalAwaited(self._task, number, name, due_at, branch))
        if due_at is not None and due_at <= self._port.now:
            await self._commit(entries.SignalMissed(self._task, number, name, branch))
            raise TimeoutError(f"no signal {name!r} came in time")
        raise await self._park(entries.TaskParked(self._task, due_at=due_at, signals=[name]))

    async def start_child(self, request: ChildRequest) -> Child:
        """Start a run in the same commit as the entry that says so."""
        (branch, number), known = await self._place("child", request.workflow)
        if known is not None and known.child is not None:
            return Child(known.child, request.workflow)
        row = self._port.child_row(request, self._execution)
        refuse_secrets("the input", row.input.encode(), self.revealed)
        self._execution.add_child(row)
        await self._commit(
            entries.ChildStarted(
                self._task, number, row.id, request.workflow, request.on_close, branch
            )
        )
        self._port.poke()
        return Child(row.id, request.workflow)

    async def wait(self, child: Child) -> Any:
        """Return a child's output; park until it has ended."""
        (branch, number), known = await self._place("wait", str(child.id))
        if known is not None and known.done:
            return self._result(known.value, known.error, child)
        end = self._execution.ended.get(child.id)
        if end is None and child.id not in self._execution.children:
            end = await self._end_elsewhere(child)
        if end is None:
            raise await self._park(entries.TaskParked(self._task, children=[child.id]))
        output = msgspec.Raw((end.output or "null").encode())
        error = None
        if end.state != "succeeded":
            message = msgspec.json.decode(end.error, type=Failure).message if end.error else ""
            error = Failure(type=end.state, message=message or end.state)
        await self._commit(
            entries.ChildEnded(self._task, number, child.id, end.state, output, error, branch)
        )
        return self._result(output, error, child)

    async def map(
        self, name: str, function: Callable[[Any], Any], items: Sequence[Any], concurrency: int
    ) -> list[Any]:
        """Call once for each item, a bounded number at a time; remember each result."""
        (branch, number), known = await self._place("map", name)
        done = dict(known.items) if known is not None else {}
        waiting = iter([index for index in range(len(items)) if index not in done])
        unstored = anyio.Semaphore(UNSTORED_ITEMS)

        async def work() -> None:
            for index in waiting:
                raw = self._encode(await self._call(function, items[index]))
                await unstored.acquire()
                done[index] = raw
                self._execution.on_durable(unstored.release)
                self._record(entries.ItemDone(self._task, number, name, index, raw, branch))

        with self._work():
            try:
                async with anyio.create_task_group() as group:
                    for _ in range(max(1, min(concurrency, len(items)))):
                        group.start_soon(work)
            except BaseExceptionGroup as failed:
                raise failed.exceptions[0] from None
            await self._commit()
        if lost := [index for index in range(len(items)) if index not in done]:
            raise TaskExited(f"map {name!r}: item {lost[0]} was cancelled from inside")
        return [msgspec.json.decode(done[index]) for index in range(len(items))]

    def check_finished(self) -> None:
        """Raise what user code has swallowed, and NonDeterminism when calls are missing.

        To be called when the attempt has returned.
        """
        if self._diverged is not None:
            raise NonDeterminism(self._diverged)
        if self._parked:
            raise Parked
        for (branch, number), step in (self._execution.tasks[self._task].steps or {}).items():
            if branch >= len(self._next) or number >= self._next[branch]:
                raise self._divergence(
                    f"ended before durable call {_told(branch, number)} "
                    f"({step.kind} {step.name!r}), which an earlier attempt made"
                )

    @property
    def waits_for(self) -> entries.TaskParked:
        """What the calls that rest wait for: whichever comes first."""
        due = [wait.due_at for wait in self._resting if wait.due_at is not None]
        return entries.TaskParked(
            self._task,
            due_at=min(due, default=None),
            signals=[name for wait in self._resting for name in wait.signals],
            children=[child for wait in self._resting for child in wait.children],
        )

    @property
    def diverged(self) -> str | None:
        """How the code differs from the journal; None while it does not."""
        return self._diverged

    def close(self) -> None:
        """Refuse every further call."""
        self._open = False

    # -- inside ------------------------------------------------------------------------

    def _encode(self, value: Any) -> msgspec.Raw:
        raw = encode(value)
        refuse_secrets("the result", raw, self.revealed)
        return raw

    async def _place(self, kind: str, name: str) -> tuple[Place, Step | None]:
        """Return where this call stands and what the journal holds there."""
        self._check_open()
        if asyncio.get_running_loop() is not self._loop:  # nothing would ever wake the caller
            raise OtherLoop(f"{kind} {name!r}")
        if self._execution.workflow.tasks[self._task].transactional:
            raise CallInTransaction(
                f"{kind} {name!r}: a transactional task makes no durable calls, its transaction "
                "is all or nothing; make them in a task before or after it"
            )
        given: object = name  # users' code is often not type-checked
        problem = line_problem(given) if isinstance(given, str) else "is no text"
        if problem:
            raise ValueError(f"{kind} {name!r}: its name {problem}")
        if _INSIDE.get():
            raise NestedCall(
                f"{kind} {name!r}: a step, or an item of a map, can make no durable calls itself"
            )
        caller = asyncio.current_task()
        branch = self._branches.setdefault(caller, len(self._branches))
        if branch == len(self._next):
            self._next.append(0)
        number = self._next[branch]
        self._next[branch] += 1
        known = self._execution.tasks[self._task].step((branch, number))
        if known is not None and (known.kind, known.name) != (kind, name):
            raise self._divergence(
                f"made the durable call {kind} {name!r} as {_told(branch, number)}, "
                f"where the journal holds {known.kind} {known.name!r}"
            )
        if known is not None:
            # Calls that were made beside this one are made again, before its answer ends them.
            await anyio.lowlevel.checkpoint()
        return (branch, number), known

    def _divergence(self, sentence: str) -> NonDeterminism:
        self._diverged = self._diverged or f"task {self._task!r} {sentence}"
        return NonDeterminism(self._diverged)

    def _check_open(self) -> None:
        # A run that was cancelled has ended before its attempts know.
        if not self._open or self._execution.over:
            raise AttemptOver("the attempt is over")

    def _record(self, entry: AnyEntry) -> None:
        self._check_open()
        self._execution.record(entry)
        self._port.touch(self._execution)

    async def _commit(self, *recorded: AnyEntry) -> None:
        """Record and return when that, and all before it, is durable."""
        for entry in recorded:
            self._record(entry)
        durable = anyio.Event()
        self._execution.on_durable(durable.set)
        self._port.touch(self._execution)
        with self._work():
            await durable.wait()

    @contextmanager
    def _work(self) -> Iterator[None]:
        """Keep the attempt from being parked."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            if not self._working and self._quiet is not None:
                self._quiet.beat()

    async def _park(self, wait: entries.TaskParked) -> Parked:
        """Return what ends the attempt, once nothing of it is under way: that would begin again."""
        self._resting.append(wait)
        try:
            # Calls that were started together with this one begin now.
            await anyio.lowlevel.checkpoint()
            while self._working:
                self._quiet = self._quiet or Pulse()
                await self._quiet.wait()
                # Who just got an answer may give this wait up.
                await anyio.lowlevel.checkpoint()
        except BaseException:
            if not self._parked:  # this one alone was given up
                self._resting.remove(wait)
            raise
        self._parked = True
        return Parked()

    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        _INSIDE.set(True)
        try:
            if inspect.iscoroutinefunction(function):
                return await function(*args)
            value = await in_thread(partial(function, *args), self._port.threads)
            return await value if inspect.isawaitable(value) else value
        except (SystemExit, KeyboardInterrupt) as error:
            # As it is it would stop the event loop if this is a task of its own, as an item is.
            raise exited(error) from error
        finally:
            _INSIDE.set(False)

    async def _end_elsewhere(self, child: Child) -> RunEnd:
        """Return the end of a child that was waited for before."""
        end = await self._port.end_of(child.id)
        if end is None:
            raise ValueError(f"run {child.id} is not a child of this run")
        return end

    def _payload(self, known: Step, name: str) -> Any:
        if known.missed:
            raise TimeoutError(f"no signal {name!r} came in time")
        return msgspec.json.decode(known.value)

    def _result(self, output: msgspec.Raw, error: Failure | None, child: Child) -> Any:
        if error is not None:
            raise ChildFailed(child.id, error.type, error.message)
        return msgspec.json.decode(output)


def _told(branch: int, number: int) -> str:
    return f"number {number}" if branch == 0 else f"number {number} of branch {branch}"


_INSIDE: ContextVar[bool] = ContextVar("inside", default=False)
"""Whether a step's function, or a map's, is being called."""
