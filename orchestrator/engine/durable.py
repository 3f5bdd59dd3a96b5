"""The durable calls of one attempt, answered from the run's journal or recorded in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import anyio
import anyio.to_thread
import msgspec

from orchestrator.engine import entries
from orchestrator.engine.entries import AnyEntry
from orchestrator.engine.execution import Execution
from orchestrator.engine.outcome import encode
from orchestrator.engine.progress import Step
from orchestrator.model.api import Failure
from orchestrator.store.tenant.journal import NewRun
from orchestrator.workflow.durable import Child, ChildFailed, ChildRequest

INLINE_SECONDS = 1.0
"""A sleep no longer than this keeps its slot; waking up again would cost more."""

UNSTORED_ITEMS = 1_000
"""How many results of a map may wait for a flush: what bounds its memory."""


class Parked(BaseException):
    """Ends an attempt that has to wait; no `except Exception` of user code catches it."""

    def __init__(self, task: str, wait: entries.TaskParked) -> None:
        super().__init__(task)
        self.wait = wait


class NonDeterminism(BaseException):
    """The code made other durable calls than the journal holds; nothing is guessed."""


class AttemptOver(Exception):
    """A durable call was made after the attempt had ended."""


class Port(Protocol):
    """What the engine does for durable calls."""

    @property
    def now(self) -> datetime: ...
    @property
    def threads(self) -> anyio.CapacityLimiter: ...
    def touch(self, execution: Execution) -> None: ...
    def poke(self) -> None: ...
    def child_row(self, request: ChildRequest, parent: Execution) -> NewRun: ...


class Durable:
    """Implements the durable calls of `Context` for one attempt."""

    def __init__(self, port: Port, execution: Execution, task: str) -> None:
        self._port = port
        self._execution = execution
        self._task = task
        self._next = 0
        self._open = True

    async def step(self, name: str, function: Callable[..., Any], args: Sequence[Any]) -> Any:
        """Call once; remember what it returned."""
        number, known = self._place("step", name)
        if known is None:
            value = await self._call(function, *args)
            raw = encode(value)
            await self._commit(entries.StepDone(task=self._task, step=number, name=name, value=raw))
            return msgspec.json.decode(raw)
        return msgspec.json.decode(known.value)

    async def sleep(self, span: timedelta) -> None:
        """Return when the time has passed; park while that is long."""
        number, known = self._place("sleep", "")
        due_at = known.due_at if known is not None else None
        if due_at is None:
            due_at = self._port.now + span
            self._record(entries.SleepSet(task=self._task, step=number, due_at=due_at))
        left = (due_at - self._port.now).total_seconds()
        if left > INLINE_SECONDS:
            raise Parked(self._task, entries.TaskParked(task=self._task, due_at=due_at))
        await anyio.sleep(max(0.0, left))

    async def wait_signal(self, name: str, within: timedelta | None) -> Any:
        """Return the payload of the next signal of that name; park until it comes."""
        number, known = self._place("signal", name)
        if known is not None and known.done:
            return self._payload(known, name)
        for signal in self._execution.inbox:
            if signal.name == name:
                self._execution.take(signal)
                payload = msgspec.Raw(signal.payload.encode())
                await self._commit(
                    entries.SignalTaken(self._task, number, name, signal.id, payload)
                )
                return msgspec.json.decode(payload)
        due_at = known.due_at if known is not None else None
        if known is None:
            due_at = None if within is None else self._port.now + within
            self._record(entries.SignalAwaited(self._task, number, name, due_at))
        if due_at is not None and due_at <= self._port.now:
            await self._commit(entries.SignalMissed(self._task, number, name))
            raise TimeoutError(f"no signal {name!r} came in time")
        wait = entries.TaskParked(task=self._task, due_at=due_at, signals=[name])
        raise Parked(self._task, wait)

    async def start_child(self, request: ChildRequest) -> Child:
        """Start a run in the same commit as the entry that says so."""
        number, known = self._place("child", request.workflow)
        if known is not None and known.child is not None:
            return Child(known.child, request.workflow)
        row = self._port.child_row(request, self._execution)
        self._execution.add_child(row)
        on_close: entries.OnClose = "abandon" if request.on_close == "abandon" else "cancel"
        await self._commit(
            entries.ChildStarted(self._task, number, row.id, request.workflow, on_close)
        )
        self._port.poke()
        return Child(row.id, request.workflow)

    async def wait(self, child: Child) -> Any:
        """Return a child's output; park until it has ended."""
        number, known = self._place("wait", str(child.id))
        if known is not None and known.done:
            return self._result(known.value, known.error, child)
        end = self._execution.ended.get(child.id)
        if end is None:
            raise Parked(self._task, entries.TaskParked(task=self._task, children=[child.id]))
        output = msgspec.Raw((end.output or "null").encode())
        error = None
        if end.state != "succeeded":
            error = (
                msgspec.json.decode(end.error, type=Failure)
                if end.error
                else Failure(type=end.state, message=end.state)
            )
            error = Failure(type=end.state, message=error.message)
        await self._commit(
            entries.ChildEnded(self._task, number, child.id, end.state, output, error)
        )
        return self._result(output, error, child)

    async def map(
        self, name: str, function: Callable[[Any], Any], items: Sequence[Any], concurrency: int
    ) -> list[Any]:
        """Call once for each item, a bounded number at a time; remember each result."""
        number, known = self._place("map", name)
        done = dict(known.items) if known is not None else {}
        waiting = iter([index for index in range(len(items)) if index not in done])
        unstored = anyio.Semaphore(UNSTORED_ITEMS)

        async def work() -> None:
            for index in waiting:
                raw = encode(await self._call(function, items[index]))
                await unstored.acquire()
                done[index] = raw
                self._execution.on_durable(unstored.release)
                self._record(entries.ItemDone(self._task, number, name, index, raw))

        try:
            async with anyio.create_task_group() as group:
                for _ in range(max(1, min(concurrency, len(items)))):
                    group.start_soon(work)
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        await self._commit()
        return [msgspec.json.decode(done[index]) for index in range(len(items))]

    def check_finished(self) -> None:
        """Raise NonDeterminism when the journal holds calls that this attempt did not make."""
        steps = self._execution.tasks[self._task].steps or []
        if len(steps) > self._next:
            left = steps[self._next]
            raise NonDeterminism(
                f"task {self._task!r} ended before durable call {self._next} "
                f"({left.kind} {left.name!r}), which an earlier attempt made"
            )

    def close(self) -> None:
        """Refuse every further call."""
        self._open = False

    def _place(self, kind: str, name: str) -> tuple[int, Step | None]:
        """Return the number of this call and what the journal holds at its place."""
        if not self._open:
            raise AttemptOver("the attempt is over")
        number, self._next = self._next, self._next + 1
        known = self._execution.tasks[self._task].step(number)
        if known is None or not known.kind:
            return number, None
        if (known.kind, known.name) != (kind, name):
            raise NonDeterminism(
                f"task {self._task!r} made the durable call {kind} {name!r} as number {number}, "
                f"where the journal holds {known.kind} {known.name!r}"
            )
        return number, known

    def _record(self, entry: AnyEntry) -> None:
        if not self._open:
            raise AttemptOver("the attempt is over")
        self._execution.record(entry)
        self._port.touch(self._execution)

    async def _commit(self, *recorded: AnyEntry) -> None:
        """Record and return when that, and all before it, is durable."""
        for entry in recorded:
            self._record(entry)
        durable = anyio.Event()
        self._execution.on_durable(durable.set)
        self._port.touch(self._execution)
        await durable.wait()

    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(*args)
        value = await anyio.to_thread.run_sync(
            function, *args, limiter=self._port.threads, abandon_on_cancel=True
        )
        return await value if inspect.isawaitable(value) else value

    def _payload(self, known: Step, name: str) -> Any:
        if known.missed:
            raise TimeoutError(f"no signal {name!r} came in time")
        return msgspec.json.decode(known.value)

    def _result(self, output: msgspec.Raw, error: Failure | None, child: Child) -> Any:
        if error is not None:
            raise ChildFailed(child.id, error.type, error.message)
        return msgspec.json.decode(output)
