"""Attempts at tasks in a test: the engine's, with stubs and a clock moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

import anyio
import msgspec

from orchestrator.cache.memory import MemoryStore
from orchestrator.cache.tenant_cache import Bounds, TenantCache
from orchestrator.engine import entries
from orchestrator.engine.attempts import Attempts, tenant_info
from orchestrator.engine.durable import INLINE_SECONDS, Durable, Port, Write
from orchestrator.engine.execute import execute
from orchestrator.engine.execution import Execution
from orchestrator.engine.outcome import Outcome, Succeeded
from orchestrator.engine.processes.worker import NotHere, ProcessContext
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.tenant.journal import NewRun
from orchestrator.store.tenant.runs import RunEnd
from orchestrator.testing.access import Access, Whole
from orchestrator.testing.clock import MovedClock
from orchestrator.workflow.context import Context, Current, Database
from orchestrator.workflow.define import AnyTask
from orchestrator.workflow.durable import ChildRequest, Durability
from orchestrator.workflow.parameters import Parameters
from orchestrator.workflow.retry import Retry

THREADS = 40

Rested = Callable[[], None]
"""Called when an attempt may have come to rest."""

TaskName = tuple[str, str]
"""The names of a workflow and of a task of it."""


class NumberedPort:
    """The engine's port, but that the runs it makes are numbered and not named by chance."""

    def __init__(self, port: Port, new_id: Callable[[], UUID]) -> None:
        self._port = port
        self._new_id = new_id

    @property
    def now(self) -> datetime:
        """The time of the clock."""
        return self._port.now

    @property
    def threads(self) -> anyio.CapacityLimiter:
        """Where sync functions run."""
        return self._port.threads

    def touch(self, execution: Execution) -> None:
        """Let the next flush carry what `execution` has recorded."""
        self._port.touch(execution)

    def poke(self) -> None:
        """Look for the run that was just added."""
        self._port.poke()

    def child_row(self, request: ChildRequest, parent: Execution) -> NewRun:
        """Return the row of a run that a task starts."""
        row = self._port.child_row(request, parent)
        return msgspec.structs.replace(row, id=self._new_id())

    async def end_of(self, run: UUID) -> RunEnd | None:
        """Return how a run ended; None when it has not, or is not there."""
        return await self._port.end_of(run)

    async def complete(
        self, execution: Execution, name: str, result: Succeeded, write: Write
    ) -> bool:
        """Let an attempt commit its own completion."""
        return await self._port.complete(execution, name, result, write)


class MovedDurable(Durable):
    """The engine's durable calls, but that a short sleep is one by the moved clock too."""

    def __init__(
        self, port: Port, execution: Execution, task: str, clock: MovedClock, on_rest: Rested
    ) -> None:
        super().__init__(port, execution, task)
        self._clock = clock
        self._on_rest = on_rest
        self._sleeping = 0
        self._calling = 0

    @property
    def rests(self) -> bool:
        """True while the attempt sleeps, and calls nothing beside that."""
        return bool(self._sleeping) and not self._calling

    async def sleep(self, span: timedelta) -> None:
        """Return when the clock has been moved so far; park while that is long."""
        (branch, number), known = await self._place("sleep", "")
        due_at = known.due_at if known is not None else None
        if due_at is None:
            due_at = self._clock.now() + span
            self._record(entries.SleepSet(self._task, number, due_at, branch))
        if (due_at - self._clock.now()).total_seconds() > INLINE_SECONDS:
            raise await self._park(entries.TaskParked(self._task, due_at=due_at))
        self._sleeping += 1
        self._on_rest()
        try:
            with self._work():
                await self._clock.sleep_until(due_at)
        finally:
            self._sleeping -= 1

    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        self._calling += 1
        try:
            return await super()._call(function, *args)
        finally:
            self._calling -= 1
            self._on_rest()


class _Apart(NotHere):
    """In place of the durable calls for a task that is meant for a worker process."""

    def close(self) -> None:
        """Do nothing: nobody can call."""


class KitAttempts(Attempts):
    """Runs attempts on the event loop and in threads: also those meant for worker processes."""

    def __init__(
        self,
        config: TenantConfig,
        database: Database | None,
        stubs: Mapping[TaskName, Callable[..., Any]],
        clock: MovedClock,
        new_id: Callable[[], UUID],
        secrets: Mapping[str, str],
    ) -> None:
        """Take no pool of processes, which is why the base is not initialised."""
        self._tenant = config
        self._fake = database
        self._given = secrets
        self._cache = TenantCache(MemoryStore(clock.now), bounds=Bounds)
        self._stubs = stubs
        self._clock = clock
        self._new_id = new_id
        self._limiter = anyio.CapacityLimiter(THREADS)
        self._under_way: set[MovedDurable] = set()
        self.on_rest: Rested = lambda: None

    @property
    def resting(self) -> int:
        """How many attempts only sleep by the clock."""
        return sum(durable.rests for durable in self._under_way)

    @property
    def threads(self) -> anyio.CapacityLimiter:
        """Where sync functions run."""
        return self._limiter

    def resize(self, threads: int) -> None:
        """Change how many sync tasks run at a time."""
        self._limiter.total_tokens = threads

    async def run(self, execution: Execution, name: str, port: Port) -> Outcome:
        """Run the current attempt of task `name`, or its stub, and return what came of it."""
        task, parameters = self._called(execution, name)
        numbered = NumberedPort(port, self._new_id)
        durable = MovedDurable(numbered, execution, name, self._clock, self.on_rest)
        current = Current(run_id=execution.id, task=name, attempt=execution.tasks[name].attempt)
        values, outputs = execution.before(name)
        access = self._access(task)
        apart = task.executor == "process"  # there it has no database and no durable calls
        ctx = (ProcessContext if apart else Context)(
            input=msgspec.json.decode(execution.input),
            values=values,
            outputs=outputs,
            tenant=tenant_info(self._tenant),
            database=access,
            current=current,
            durable=cast("Durability", _Apart()) if apart else durable,
            secrets=self._given,
            cache=self._cache,
        )
        durable.revealed = ctx.revealed
        self._under_way.add(durable)
        try:
            result = await execute(task, ctx, parameters, durable, self._limiter)
            return await access.conclude(result, task) if isinstance(access, Whole) else result
        finally:
            self._under_way.discard(durable)
            if isinstance(access, Whole):
                await access.undo()
            if access is not None:
                access.close()

    def _access(self, task: AnyTask) -> Access | None:
        if self._fake is None:
            return None
        return Whole(self._fake) if task.transactional else Access(self._fake)

    def retry(self, execution: Execution, name: str) -> Retry:
        """Return the task's policy, cut to what the tenant may have, without jitter."""
        policy = replace(execution.workflow.tasks[name].retry, jitter=0.0)
        allowed = self._tenant.limits.max_retries
        if allowed is None:
            return policy
        return replace(policy, attempts=min(policy.attempts, allowed + 1))

    def _called(self, execution: Execution, name: str) -> tuple[AnyTask, Parameters]:
        task = execution.workflow.tasks[name]
        stub = self._stubs.get((execution.workflow.name, name))
        if stub is None:
            return task, execution.workflow.parameters[name]
        stubbed = replace(task, function=stub, executor="thread")
        return stubbed, stubbed.parameters()
