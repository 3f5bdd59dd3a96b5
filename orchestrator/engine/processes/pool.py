"""The node's worker processes: started when first needed, kept warm, replaced when used up."""

from __future__ import annotations

import math
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.abc
import msgspec
import structlog

from orchestrator.engine import outcome
from orchestrator.engine.entries import NOTHING
from orchestrator.engine.failures import AttemptTimeout, WorkerDied
from orchestrator.engine.outcome import Failed, Outcome, Succeeded
from orchestrator.engine.processes.child import Child, Secret
from orchestrator.engine.processes.wire import ProcessCall, Raised, Request, Returned, Setup, kind
from orchestrator.settings.model import LogSection
from orchestrator.workflow.define import AnyTask
from orchestrator.workflow.retry import Fail, Retry

TASKS_PER_WORKER = 200
"""After so many attempts a worker is replaced, so that what tasks leak does not add up."""

log = structlog.get_logger(__name__)


class ProcessPool:
    """At most `size` worker processes, each with at most `memory_bytes` of address space.

    Attempts get a worker in the order they came. Workers end by SIGKILL, together with everything
    their tasks started: when an attempt is cancelled or takes too long, when they are used up, when
    the pool closes, and when the daemon itself is killed.

    >>> async with ProcessPool(size=2, memory_bytes=None) as pool:
    ...     await pool.run(task, ProcessCall(input=msgspec.Raw(b'{"month": "2024-01"}')))
    """

    def __init__(
        self,
        *,
        size: int,
        memory_bytes: int | None,
        tasks_per_worker: int = TASKS_PER_WORKER,
        log: LogSection | None = None,
        withheld: frozenset[str] = frozenset(),
    ) -> None:
        self._withheld = withheld
        log = log or LogSection()
        self._setup = Setup(memory_bytes=memory_bytes, log_level=log.level, log_format=log.format)
        self._tasks_per_worker = tasks_per_worker
        self._turns = anyio.Semaphore(size)
        self._idle: list[Child] = []
        self._alive: set[Child] = set()
        self._closed = False
        self._group: anyio.abc.TaskGroup

    async def __aenter__(self) -> Self:
        self._group = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        await self.close()
        return await self._group.__aexit__(kind, error, trace)

    def log_at(self, level: str) -> None:
        """Have those that are started from now on log at this level."""
        self._setup = msgspec.structs.replace(self._setup, log_level=level)

    @property
    def pids(self) -> frozenset[int]:
        """The processes that live now."""
        return frozenset(child.pid for child in self._alive)

    async def close(self) -> None:
        """Kill every worker, and return when they are gone; `run` raises from now on."""
        self._closed = True
        self._idle.clear()
        for child in self._alive:
            child.kill()
        for child in tuple(self._alive):
            await child.end()

    async def run(self, task: AnyTask, call: ProcessCall, secret: Secret) -> Outcome:
        """Run one attempt and return what came of it; the task's own timeout is kept here.

        `secret` reads what the task asks for.

        Its time counts from the moment the function is called, not while it waits for a worker.
        A cancelled attempt's process is dead when this returns. Raises ClosedResourceError when
        the pool is closed.
        """
        seconds = task.timeout.total_seconds() if task.timeout else math.inf
        request = Request(
            module=task.function.__module__, qualname=task.function.__qualname__, call=call
        )
        try:
            reply = await self._answer(request, seconds, secret)
        except (AttemptTimeout, WorkerDied) as error:
            if self._closed:
                raise anyio.ClosedResourceError from None
            # The traceback would show the daemon's code, in which nothing is wrong.
            return outcome.failed(error.with_traceback(None), task.name, task.retry)
        if isinstance(reply, Returned):
            # Told by identity: see NOTHING.
            values = NOTHING if bytes(reply.values) == bytes(NOTHING) else reply.values
            return Succeeded(output=reply.output, values=values)
        return Failed(error=reply.error, retryable=_retryable(reply.kinds, task.retry))

    async def _answer(self, request: Request, seconds: float, secret: Secret) -> Returned | Raised:
        async with self._turns:
            child = self._take()
            try:
                return await self._call(child, request, seconds, secret)
            except WorkerDied:
                if child.touched or self._closed:
                    raise
            # It died while it had nothing to do, and nobody had noticed yet. Once only: a module
            # whose import kills its worker ends here too.
            return await self._call(self._take(), request, seconds, secret)

    def _take(self) -> Child:
        """Return the worker that was used last, for its memory is the warmest, or a new one."""
        return self._idle.pop() if self._idle else self._start()

    async def _call(
        self, child: Child, request: Request, seconds: float, secret: Secret
    ) -> Returned | Raised:
        """Use a worker, and keep it when it is still good; else have another one warm."""
        try:
            reply = await child.call(request, seconds, secret)
        except BaseException:
            await self._replace(child)
            raise
        if child.spoiled or child.calls >= self._tasks_per_worker:
            await self._replace(child)
        else:
            self._idle.append(child)
        return reply

    async def _replace(self, child: Child) -> None:
        await child.end()
        if not self._closed:
            # Without a worker to spare the next call starts its own, and tells what is wrong.
            with suppress(WorkerDied):
                self._idle.append(self._start())

    def _start(self) -> Child:
        if self._closed:
            raise anyio.ClosedResourceError
        try:
            child = Child(self._setup, self._withheld)
        except OSError as error:
            raise WorkerDied(f"a worker process could not be started: {error}") from error
        self._alive.add(child)
        self._group.start_soon(self._watch, child)
        log.debug("worker.started", pid=child.pid)
        return child

    async def _watch(self, child: Child) -> None:
        await child.watch()
        self._alive.discard(child)
        if child in self._idle:
            self._idle.remove(child)
            log.warning("worker.died_idle", pid=child.pid)


def _retryable(kinds: list[str], retry: Retry) -> bool:
    """Return what `retry.covers` says of the exception, known by its classes' names alone."""
    return kind(Fail) not in kinds and any(kind(each) in kinds for each in _classes(retry.on))


def _classes(on: Any) -> tuple[type[Exception], ...]:
    # A policy may name one class outside a tuple, as `isinstance` takes it.
    return on if isinstance(on, tuple) else (on,)
