"""The group commit loop of a tenant.

It gathers what happened to all runs of the tenant, flushes it in one statement, and only then lets
happen what depended on it.

There is no timer: a flush starts as soon as the one before has ended, so an idle tenant waits one
round trip and a busy one has hundreds of rows in a commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain, filterfalse, islice
from typing import Protocol
from uuid import UUID

import anyio
import msgspec
import structlog

from orchestrator.engine.admission import Admission
from orchestrator.engine.execution import Drained, Execution
from orchestrator.engine.pulse import Pulse
from orchestrator.model.errors import LockNotHad, QuotaExceeded
from orchestrator.store.tenant.admission import Allowance, HeldUp
from orchestrator.store.tenant.journal import (
    REFUSED,
    Batch,
    Committed,
    Ended,
    Fired,
    Key,
    Known,
    NewRun,
    key_held,
    keys_of,
)

MAX_ROWS = 500
"""Beyond this a batch only adds latency: 100 rows take 4 ms, 300 about 10, 1,000 about 25.

Runs that somebody submits together are one commit all the same.
"""

HURRIED_SECONDS = 30.0
"""So long after a key was found to be held, flushes with keys wait for such a one but a moment."""

MOST_WAITS = 20
"""So often a flush waits for that moment to find out which keys are held."""

NAMED = 10
"""So many runs the log names of those that are refused together: there may be thousands."""

log = structlog.get_logger(__name__)


class Note:
    """What became of a fire that started no run, on its way to a flush."""

    __slots__ = ("_fired",)

    def __init__(self, fired: Fired) -> None:
        self._fired = fired

    def drain(self) -> Drained:
        """Return what the flush has to write."""
        return Drained(None, None, None, [], [], None, [], self._fired)


class Lot:
    """New runs that are stored together, or not at all."""

    __slots__ = ("runs",)

    def __init__(self, runs: Sequence[Execution]) -> None:
        self.runs = runs


class Item(msgspec.Struct, frozen=True):
    """A run or a fire, and what one flush writes of it; a new run may belong to a `lot`."""

    execution: Execution | Note
    written: Drained
    lot: Lot | None


class Writer(Protocol):
    """Where a batch goes: the tenant's journal over its own connection.

    Both raise LeaseLost when the fence refuses and Unavailable when the connection can not be had
    back; `flush` also LockNotHad when somebody may hold the key of a new run.
    """

    async def flush(self, batch: Batch) -> Committed: ...
    async def known(self, ids: Sequence[UUID], keys: Sequence[Key]) -> list[Known]: ...


class Listener(Protocol):
    """Who is told that a flush has ended, and about runs that were not stored."""

    def flushed(self) -> None: ...
    def is_known(self, execution: Execution, stored: Known) -> None: ...
    def is_refused(self, execution: Execution, error: Exception, *, new: bool) -> None: ...


class GroupCommit:
    """Flushes the executions that were touched. One per tenant and incarnation."""

    def __init__(self, writer: Writer, listener: Listener, admission: Admission) -> None:
        self._writer = writer
        self._listener = listener
        self._admission = admission
        self._touched: dict[Execution | Note, None] = {}
        self._lots: dict[Execution | Note, Lot] = {}
        self._wake = asyncio.Event()
        self._woken = False
        self._flushing: Sequence[Execution | Note] = ()
        self._alone: set[Execution] = set()
        self._settled = Pulse()
        self._hurried_until = 0.0
        self.ended = anyio.Event()
        self.flushes = 0
        self.rows = 0

    def touch(self, execution: Execution | Note) -> None:
        """Let the next flush carry what `execution` has recorded."""
        self._touched[execution] = None
        if not self._woken:
            self._woken = True
            self._wake.set()

    def keep_together(self, runs: Sequence[Execution]) -> None:
        """Let one flush carry all of these new runs, which have been touched, or none of them."""
        if len(runs) > 1:
            self._lots.update(dict.fromkeys(runs, Lot(runs)))

    @property
    def idle(self) -> bool:
        """True when nothing waits for a flush and none is under way."""
        return not self._touched and not self._flushing

    async def run(self) -> None:
        """Flush for ever; ends by cancellation or by the writer's errors, and sets `ended`."""
        try:
            # A commit under way is not cancelled: nobody would know how it came out. It ends when
            # the writer is closed. One scope for all of them, open only while nothing is to do.
            with anyio.CancelScope() as scope:
                while True:
                    scope.shield = False
                    await self._wake.wait()
                    scope.shield = True
                    self._wake.clear()
                    self._woken = False
                    while items := self._gather():
                        await self._flush(items)
        finally:
            self.ended.set()

    async def _flush(self, items: Sequence[Item]) -> None:
        self._flushing = [item.execution for item in items]
        await self._commit(items)
        self._flushing = ()
        self._settled.beat()
        self._listener.flushed()

    @asynccontextmanager
    async def alone(self, execution: Execution) -> AsyncIterator[None]:
        """Let no flush carry anything of `execution` while the body runs; one body at a time."""
        while execution in self._flushing or execution in self._alone:
            await self._settled.wait()
        self._alone.add(execution)
        try:
            yield
        finally:
            self._alone.discard(execution)
            self._settled.beat()
            self._wake.set()

    def _gather(self) -> list[Item]:
        free = filterfalse(self._alone.__contains__, self._touched)
        touched = dict.fromkeys(islice(free, MAX_ROWS))
        for lot in {self._lots[each] for each in touched if each in self._lots}:
            touched.update(dict.fromkeys(lot.runs))
        items = []
        for execution in touched:
            del self._touched[execution]
            item = Item(execution, execution.drain(), self._lots.pop(execution, None))
            items.append(item)
            if item.written.more:
                self.touch(execution)
        return items

    async def _commit(self, items: Sequence[Item], waits: Iterator[int] | None = None) -> None:
        try:
            known = await self._write(items)
        except LockNotHad:
            await self._make_way(items, waits or iter(range(MOST_WAITS)))
            return
        except HeldUp as held:
            await self._put_off(items, held.error)
            return
        except (*REFUSED, QuotaExceeded) as error:
            await self._bisect(items, error)
            return
        for item in items:
            run = item.execution
            if known and isinstance(run, Execution) and run.id in known:
                run.refuse(item.written)
                self._listener.is_known(run, known[run.id])
                continue
            for effect in item.written.effects:
                effect()

    async def _write(self, items: Sequence[Item]) -> dict[object, Known]:
        batch = _batch([item.written for item in items], self._admission.allowance)
        if not (batch.rows or batch.taken or batch.nudged):
            return {}
        if self._hurried_until and batch.keyed:
            hurried = anyio.current_time() < self._hurried_until
            batch = msgspec.structs.replace(batch, hurried=hurried)
        committed = await self._writer.flush(batch)
        self.flushes += 1
        self.rows += batch.rows
        if committed.admitted is not None:
            self._admission.counted(committed.admitted)
        if committed.added == len(batch.added):
            return {}
        ids = [run.id for run in batch.added]
        stored = await self._writer.known(ids, keys_of(batch.added))
        return _already_there(batch.added, stored)

    async def _put_off(self, items: Sequence[Item], error: QuotaExceeded) -> None:
        """Refuse the new runs, which nobody can count now, and commit all the others."""
        self._admission.held_up(error)
        rest = []
        for item in items:
            if isinstance(item.execution, Execution) and item.written.new is not None:
                item.execution.refuse(item.written)
                self._listener.is_refused(item.execution, error, new=True)
            else:
                rest.append(item)
        if rest:
            await self._commit(rest)

    async def _make_way(self, items: Sequence[Item], waits: Iterator[int]) -> None:
        """Commit all but the new runs whose keys somebody holds in a transaction that is open.

        When `waits` has no more, what may wait as well is refused with them.
        """
        self._hurried_until = anyio.current_time() + HURRIED_SECONDS
        parts = _parts(items)
        in_time = next(waits, None) is not None
        in_nobodys_way = [part for part in parts if not keys_of(_added(part))]
        if in_nobodys_way:
            await self._commit(_joined(in_nobodys_way))
            await self._commit(_joined([part for part in parts if keys_of(_added(part))]), waits)
        elif in_time and len(parts) > 1:
            middle = len(parts) // 2
            await self._commit(_joined(parts[:middle]), waits)
            await self._commit(_joined(parts[middle:]), waits)
        else:
            self._refuse(items, key_held(_added(items)))

    async def _bisect(self, items: Sequence[Item], error: Exception) -> None:
        parts = _parts(items)
        if len(parts) > 1:
            middle = len(parts) // 2
            await self._commit(_joined(parts[:middle]))
            await self._commit(_joined(parts[middle:]))
            return
        self._refuse(items, error)

    def _refuse(self, items: Sequence[Item], error: Exception) -> None:
        runs = [item.execution for item in items if isinstance(item.execution, Execution)]
        if len(runs) < len(items):
            log.warning("fire.refused", error=str(error))
        if runs and not isinstance(error, QuotaExceeded):
            names = [str(run.id) for run in runs[:NAMED]]
            log.warning("run.refused", runs=names, refused=len(runs), error=str(error))
        for item in items:
            if isinstance(item.execution, Execution):
                item.execution.refuse(item.written)
                new = item.written.new is not None
                self._listener.is_refused(item.execution, error, new=new)


def _parts(items: Sequence[Item]) -> list[list[Item]]:
    """Return what can be stored without the others: each alone, and each lot."""
    parts: dict[object, list[Item]] = {}
    for item in items:
        parts.setdefault(item.lot or item.execution, []).append(item)
    return list(parts.values())


def _joined(parts: Sequence[Sequence[Item]]) -> list[Item]:
    return list(chain.from_iterable(parts))


def _added(items: Sequence[Item]) -> list[NewRun]:
    return [item.written.new for item in items if item.written.new is not None]


def _batch(written: Sequence[Drained], allowance: Allowance | None) -> Batch:
    added = [run.new for run in written if run.new is not None]
    return Batch(
        added=added + [child for run in written for child in run.children],
        changed=[run.changed for run in written if run.changed is not None],
        logged=[run.logged for run in written if run.logged is not None],
        taken=[signal for run in written for signal in run.taken],
        nudged=[run.nudged for run in written if run.nudged is not None],
        fires=[run.fired for run in written if run.fired is not None],
        ended=_sum([run.ended for run in written if run.ended is not None]),
        allowance=allowance,
    )


def _sum(ended: Sequence[list[int]]) -> Ended:
    return Ended(*map(sum, zip(*ended, strict=True)))


def _already_there(added: Sequence[NewRun], stored: Sequence[Known]) -> dict[object, Known]:
    """Return, for each new run that was not stored under its own id, the run that holds its key.

    A run stored under its own id is ours: the batch was sent again after an ambiguous commit.
    """
    ours = {run.id for run in stored}
    by_key = {(run.workflow, run.key): run for run in stored if run.key is not None}
    return {
        run.id: by_key[run.workflow, run.key]
        for run in added
        if run.id not in ours and run.key is not None
    }
