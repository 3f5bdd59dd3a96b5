"""Builds what an attempt sees, and runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import anyio
import msgspec

from orchestrator.engine.durable import Durable, Port
from orchestrator.engine.execute import execute
from orchestrator.engine.execution import Execution
from orchestrator.engine.failures import TransactionLeftOpen
from orchestrator.engine.outcome import Outcome, Stored, Succeeded, Waiting, failed
from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.processes.wire import ProcessCall
from orchestrator.model.errors import DatabaseUnavailable, LeaseLost
from orchestrator.observability.logging import hide_secrets, name_attempt
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.tenant.database import TenantDatabase
from orchestrator.store.tenant.session import Session
from orchestrator.store.tenant.whole import Whole
from orchestrator.workflow.cache import Cache
from orchestrator.workflow.context import Context, Current, TenantInfo
from orchestrator.workflow.define import AnyTask
from orchestrator.workflow.retry import Retry
from orchestrator.workflow.secret import GivenSecrets, Secrets


class Attempts:
    """Runs one tenant's attempts: on the event loop, in its threads, in the node's processes."""

    def __init__(
        self,
        config: Callable[[], TenantConfig],
        database: TenantDatabase,
        processes: ProcessPool,
        *,
        threads: int,
        secrets: Secrets | None = None,
        cache: Cache | None = None,
    ) -> None:
        self._cache = cache
        self._config = config
        self._secrets = secrets or GivenSecrets(config().id, {})
        self._processes = processes
        self._database = database
        self._threads = anyio.CapacityLimiter(threads)

    @property
    def threads(self) -> anyio.CapacityLimiter:
        """The tenant's worker threads."""
        return self._threads

    def resize(self, threads: int) -> None:
        """Change how many sync tasks run at a time."""
        self._threads.total_tokens = threads

    async def run(self, execution: Execution, name: str, port: Port) -> Outcome:
        """Run the current attempt of task `name` and return what came of it.

        LeaseLost when the attempt found that a newer owner has the tenant: it settles nothing.
        """
        durable = Durable(port, execution, name)
        task = execution.workflow.tasks[name]
        attempt = execution.tasks[name].attempt
        name_attempt(execution.id, name, attempt)
        if task.executor == "process":
            call = self._call(execution, name)
            return await self._processes.run(task, call, self._secrets.read)
        values, outputs = execution.before(name)
        current = Current(run_id=execution.id, task=name, attempt=attempt)
        session = Session(self._database, current)
        whole = Whole(session) if task.transactional else None
        ctx = Context(
            input=msgspec.json.decode(execution.input),
            values=values,
            outputs=outputs,
            tenant=partial(tenant_info, self._config()),
            database=whole or session,
            current=current,
            durable=durable,
            secrets=self._secrets,
            cache=self._cache,
        )
        durable.revealed = ctx.revealed
        hide_secrets(ctx.revealed)
        parameters = execution.workflow.parameters[name]
        try:
            result = await execute(task, ctx, parameters, durable, self._threads)
            if whole is not None:
                result = await _conclude(whole, result, execution, name, port)
        finally:
            left = session.close()
        if session.lease_lost is not None:
            raise session.lease_lost
        return _left_open(task, left) if left and isinstance(result, _GOOD) else result

    def _call(self, execution: Execution, name: str) -> ProcessCall:
        values, outputs = execution.before(name)
        attempt = execution.tasks[name].attempt
        return ProcessCall(
            input=msgspec.Raw(execution.input),
            values=values,
            outputs=dict(outputs.encoded),
            tenant=tenant_info(self._config()),
            current=Current(run_id=execution.id, task=name, attempt=attempt),
        )

    def retry(self, execution: Execution, name: str) -> Retry:
        """Return the task's policy, cut to what the tenant may have."""
        policy = execution.workflow.tasks[name].retry
        allowed = self._config().limits.max_retries
        if allowed is None or policy.attempts <= allowed + 1:
            return policy
        return replace(policy, attempts=allowed + 1)


async def _conclude(
    whole: Whole, result: Outcome, execution: Execution, name: str, port: Port
) -> Outcome:
    """Commit the transaction of a task with its completion, or undo it.

    LeaseLost and DatabaseUnavailable say that how it came out is not ours to know: the next owner
    reads it in the journal.
    """
    task = execution.workflow.tasks[name]
    if whole.seal() and isinstance(result, _GOOD):
        return _left_open(task, 1)
    if not isinstance(result, Succeeded):
        await whole.end()
        return result
    if not whole.begun:
        return result
    try:
        stored = await port.complete(execution, name, result, whole.complete)
    except (LeaseLost, DatabaseUnavailable):
        raise
    except Exception as error:  # noqa: BLE001 - the database refused it, so the attempt failed
        await whole.end()
        return failed(error, task.name, task.retry)
    # Nothing that goes wrong from here on makes it a failed attempt: it is done.
    await whole.end()
    return Stored() if stored else result


def _left_open(task: AnyTask, left: int) -> Outcome:
    error = TransactionLeftOpen(
        f"the task ended with {left} transaction{'s' if left > 1 else ''} open, which did not "
        "commit; write `async with ctx.db.transaction()` and wait for what you start"
    )
    return failed(error, task.name, task.retry)


_GOOD = (Succeeded, Waiting)


def tenant_info(config: TenantConfig) -> TenantInfo:
    """Return what a task may know of its tenant."""
    # Copies: what a task changes in them is its own affair, not the next task's.
    limits = msgspec.to_builtins(config.limits)
    return TenantInfo(
        id=config.id,
        name=config.name,
        origin=config.origin,
        settings=msgspec.to_builtins(config.settings),
        features=dict(config.features),
        limits={name: value for name, value in limits.items() if value is not None},
        metadata=msgspec.to_builtins(config.metadata),
    )
