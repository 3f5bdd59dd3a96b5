"""A tenant's tables in memory: what the engine asks of its connection, answered without a database.

It holds what the statements of `store/tenant` say and nothing of the engine, so a run in a test is
moved by the code that moves it in production. The parity tests keep the two the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import anyio.lowlevel
import msgspec

from orchestrator.model.clock import Clock
from orchestrator.model.states import RunState
from orchestrator.store.tenant.journal import (
    Batch,
    ChangedRun,
    Committed,
    Delivered,
    Key,
    Known,
    NewRun,
    Sent,
)
from orchestrator.store.tenant.owned import OwnedConnection
from orchestrator.store.tenant.retention import OwnedRetention
from orchestrator.store.tenant.runs import (
    Claimed,
    Entries,
    Inherited,
    Moment,
    Outside,
    Pause,
    RunEnd,
    Signal,
    Stored,
)
from orchestrator.store.tenant.schedules import Declared, OwnedSchedules
from orchestrator.store.tenant.schedules import Stored as StoredSchedule

EPOCH = 1
NODE = "test"


@dataclass(slots=True, eq=False)
class Row:
    """One run with its journal and the signals it has not taken."""

    run: NewRun
    state: str
    epoch: int
    due_at: datetime | None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    output: str | None = None
    context: str | None = None
    error: str | None = None
    journal: list[Moment] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)

    def change(self, to: ChangedRun, now: datetime) -> None:
        """Let a flush change the run; a finished one only when it is reopened."""
        if self.finished_at is not None and not to.reopened:
            return
        self.state, self.epoch, self.due_at = to.state, to.epoch, to.due_at
        self.output, self.context, self.error = to.output, to.context, to.error
        if to.state != RunState.QUEUED:
            self.started_at = self.started_at or now
        self.finished_at = now if to.finished else None

    def claimed(self) -> Claimed:
        """Return what the engine takes into memory."""
        return Claimed(**{name: self._value(name) for name in Claimed.__struct_fields__})

    def stored(self) -> Stored:
        """Return what people read."""
        values = {name: self._value(name) for name in Stored.__struct_fields__}
        return Stored(**{**values, "tags": msgspec.json.decode(self.run.tags, type=list[str])})

    def _value(self, name: str) -> Any:
        return getattr(self, name) if hasattr(self, name) else getattr(self.run, name)


class NoSchedules(OwnedSchedules):
    """A tenant without schedules."""

    def __init__(self) -> None:
        """Have no statements, as there is nothing to run them on."""

    async def stored(self, names: Sequence[str]) -> list[StoredSchedule]:  # noqa: ARG002
        """Return none."""
        return []

    async def sync(self, declared: Sequence[Declared]) -> None:
        """Do nothing."""

    async def pause(self, name: str, *, paused: bool, last: datetime) -> None:
        """Do nothing."""


class NoRetention(OwnedRetention):
    """A tenant that keeps all of its runs: they end with the test."""

    def __init__(self) -> None:
        """Have no statements, as there is nothing to run them on."""

    async def delete(self, before: datetime, limit: int) -> int:  # noqa: ARG002
        """Delete none."""
        return 0

    async def delete_fires(self, before: datetime) -> None:
        """Do nothing: there are none."""

    async def sweep(self, limit: int) -> int:  # noqa: ARG002
        """Delete none: the cache of a test is in memory."""
        return 0


class MemoryTable(OwnedConnection):
    """Stands where the supervisor's connection does; time is the clock's."""

    def __init__(self, clock: Clock) -> None:
        """Begin empty. The base would connect, and every method that does is replaced."""
        self.schedules = NoSchedules()
        self.retention = NoRetention()
        self.rows: dict[UUID, Row] = {}
        self._paused: dict[str, Pause] = {}
        self._clock = clock

    async def close(self) -> None:
        """Do nothing: there is no connection."""

    async def flush(self, batch: Batch) -> Committed:
        """Store a batch, and answer as a server does: others have their turn before."""
        await anyio.lowlevel.checkpoint()
        now = self._clock.now()
        added = sum(self.add(run) for run in batch.added)
        for change in batch.changed:
            self.rows[change.id].change(change, now)
        for logged in batch.logged:
            row = self.rows[logged.run_id]
            row.journal.append(Moment(logged.seq, now, EPOCH, NODE, logged.entries))
        for run, signal in batch.taken:
            row = self.rows[run]
            row.signals = [each for each in row.signals if each.id != signal]
        self._nudge(batch.nudged)
        return Committed(at=now, added=added)

    def add(self, run: NewRun) -> bool:
        """Add a run, unless it is there or its key is taken."""
        keys = {(r.run.workflow, r.run.key) for r in self.rows.values() if r.run.key is not None}
        if run.id in self.rows or (run.workflow, run.key) in keys:
            return False
        now = self._clock.now()
        begun = now if run.state == RunState.RUNNING else None
        self.rows[run.id] = Row(run, run.state, run.epoch, run.due_at, now, started_at=begun)
        return True

    async def known(self, ids: Sequence[UUID], keys: Sequence[Key]) -> list[Known]:
        """Return the runs that hold one of these ids or keys."""
        return [
            Known(r.run.id, r.run.workflow, r.run.key, r.state)
            for r in self.rows.values()
            if r.run.id in ids or (r.run.workflow, r.run.key) in keys
        ]

    async def claim(self, limit: int) -> list[Claimed]:
        """Take runs that could move now, most urgent first."""
        found = sorted(filter(self._is_free, self.rows.values()), key=lambda row: row.run.rank)
        return self._take(found[:limit])

    async def claim_these(self, runs: Sequence[UUID]) -> list[Claimed]:
        """Take certain runs, whatever their state."""
        return self._take([self.rows[run] for run in runs if run in self.rows])

    async def peek(self, run: UUID) -> Claimed | None:
        """Return one run without taking it."""
        return self.rows[run].claimed() if run in self.rows else None

    async def outside(self, *, count_to: int = 0) -> Outside:
        """Return what waits to be claimed."""
        now = self._clock.now()
        waiting = any(self._is_free(row) for row in self.rows.values())
        queued = [
            row
            for row in self._left()
            if row.state == RunState.QUEUED and (row.due_at is None or row.due_at <= now)
        ]
        due = [
            row.due_at
            for row in self._left()
            if row.due_at is not None and row.due_at > now and not self._is_paused(row)
            if row.state in {RunState.QUEUED, RunState.WAITING}
        ]
        return Outside(waiting, min(len(queued), count_to), min(due, default=None))

    async def signals(self, runs: Sequence[UUID]) -> list[Signal]:
        """Return what was sent to `runs` and not taken yet, oldest first."""
        return [signal for run in runs for signal in self.rows[run].signals]

    async def ended(self, runs: Sequence[UUID]) -> list[RunEnd]:
        """Return how `runs` ended, of those that have."""
        rows = (self.rows[run] for run in runs if run in self.rows)
        return [
            RunEnd(row.run.id, row.state, row.output, row.error)
            for row in rows
            if row.finished_at is not None
        ]

    async def send(self, signals: Sequence[Sent]) -> Delivered:
        """Leave signals for runs that are not finished."""
        live: set[UUID] = set()
        for sent in signals:
            row = self.rows.get(sent.run_id)
            if row is not None and row.finished_at is None:
                live.add(sent.run_id)
                row.signals.append(Signal(sent.run_id, sent.id, sent.name, sent.payload))
        self._nudge([sent.run_id for sent in signals])
        return Delivered(live, {sent.id for sent in signals if sent.run_id in live})

    async def set_pause(self, workflow: str, *, paused: bool, reason: str = "") -> None:
        """Note that a workflow starts nothing, or starts again."""
        if paused:
            self._paused[workflow] = Pause(workflow, self._clock.now(), reason)
        else:
            self._paused.pop(workflow, None)

    async def pauses(self) -> list[Pause]:
        """Return what is paused."""
        return list(self._paused.values())

    async def inherited(self, lately: timedelta) -> Inherited:  # noqa: ARG002
        """Return nothing: time begins with the test."""
        return Inherited([], [])

    async def entries(self, runs: Sequence[UUID]) -> list[Entries]:
        """Return the journals of `runs`."""
        return [
            Entries(run, moment.seq, moment.entries)
            for run in runs
            for moment in self.rows[run].journal
        ]

    def _left(self) -> list[Row]:
        return [row for row in self.rows.values() if row.finished_at is None and row.epoch < EPOCH]

    def _is_free(self, row: Row) -> bool:
        if row.finished_at is not None or row.epoch >= EPOCH or self._is_paused(row):
            return False
        due = row.due_at is not None and row.due_at <= self._clock.now()
        match row.state:
            case RunState.RUNNING:
                return True
            case RunState.QUEUED:
                return due or row.due_at is None
            case _:
                return row.state == RunState.WAITING and due

    def _is_paused(self, row: Row) -> bool:
        return not self._paused.keys().isdisjoint((row.run.workflow, ""))

    def _take(self, rows: Sequence[Row]) -> list[Claimed]:
        for row in rows:
            row.epoch = EPOCH
        return [row.claimed() for row in rows]

    def _nudge(self, runs: Sequence[UUID]) -> None:
        for run in runs:
            row = self.rows.get(run)
            if row is not None and row.state == RunState.WAITING and row.epoch < EPOCH:
                row.due_at = self._clock.now()
