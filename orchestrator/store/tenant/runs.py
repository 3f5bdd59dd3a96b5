"""Taking runs into memory, and reading them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from orchestrator.model.ids import run_id_at
from orchestrator.model.states import RunState
from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
CLAIM = _QUERIES["claim"]
KINDS = _QUERIES["kinds"]
BLOCK = _QUERIES["block"]
CLAIM_THESE = _QUERIES["claim_these"]
PEEK = _QUERIES["peek"]
OUTSIDE = _QUERIES["outside"]
SIGNALS = _QUERIES["signals"]
ENDED = _QUERIES["ended"]
ORPHANS = _QUERIES["orphans"]
PAUSE = _QUERIES["pause"]
UNPAUSE = _QUERIES["unpause"]
PAUSED = _QUERIES["paused"]
ACCEPTED_LATELY = _QUERIES["accepted_lately"]
ENTRIES = _QUERIES["entries"]
PAGE = _QUERIES["page"]
READ = _QUERIES["read"]
EXISTS = _QUERIES["exists"]
HISTORY = _QUERIES["history"]

BLOCK_AT_ONCE = 5_000
"""How many runs of a kind one statement parks: a backlog of them must not hold up the rest."""

Served = Sequence[tuple[str, str]]
"""Workflow and version, for each that this daemon has; the last of a workflow is its latest."""


class Claimed(msgspec.Struct, frozen=True):
    """A run taken into memory; `input` is JSON text."""

    id: UUID
    workflow: str
    version: str
    state: str
    queue: str
    priority: int
    rank: int
    key: str | None
    input: str
    parent_id: UUID | None
    due_at: datetime | None
    deadline_at: datetime | None


class Outside(msgspec.Struct, frozen=True):
    """What waits outside memory.

    Whether a run could go on now, how many have not begun though nothing but a pause keeps them,
    and when the next one is due. `blocked` runs were just parked, since nobody here can run them.
    """

    waiting: bool
    queued: int
    due_at: datetime | None
    blocked: int = 0


class Signal(msgspec.Struct, frozen=True):
    """A message to a run that it has not taken yet; `payload` is JSON text."""

    run_id: UUID
    id: UUID
    name: str
    payload: str


class Pause(msgspec.Struct, frozen=True):
    """A workflow that starts nothing for now, or with '' all of them: since when and why."""

    workflow: str
    since: datetime
    reason: str


class RunEnd(msgspec.Struct, frozen=True):
    """How a run ended; `output` and `error` are JSON text."""

    id: UUID
    state: str
    output: str | None
    error: str | None


class Orphan(msgspec.Struct, frozen=True):
    """A live run whose parent has ended."""

    id: UUID
    parent_id: UUID


class Inherited(msgspec.Struct, frozen=True):
    """For a new owner: how many runs were accepted in each minute lately, and orphans."""

    accepted: list[tuple[datetime, int]]
    orphans: list[Orphan]


class Entries(msgspec.Struct, frozen=True):
    """The part of a run's journal that one flush wrote; `entries` is JSON text."""

    run_id: UUID
    seq: int
    entries: str


class Moment(msgspec.Struct, frozen=True):
    """The same with the database's time of that flush, for reading."""

    seq: int
    at: datetime
    epoch: int
    node: str
    entries: str


class Listed(msgspec.Struct, frozen=True):
    """One run in a list."""

    id: UUID
    workflow: str
    version: str
    state: str
    queue: str
    priority: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    key: str | None


class Stored(Listed, frozen=True):
    """Everything a run's row holds; JSON columns are text."""

    input: str
    output: str | None
    context: str | None
    error: str | None
    tags: list[str]
    due_at: datetime | None
    deadline_at: datetime | None


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs to list, newest first; `cursor` is the last id of the page before."""

    states: tuple[RunState, ...] | None = None
    workflow: str | None = None
    since: datetime | None = None
    limit: int = 50
    cursor: UUID | None = None


class Claims:
    """What the owner of epoch `epoch` takes into memory; every statement checks the fence.

    `served` tells what this daemon runs for the tenant at the moment.
    """

    def __init__(self, schema: str, *, epoch: int, served: Callable[[], Served]) -> None:
        self._claim = sql.bind(CLAIM, schema)
        self._kinds = sql.bind(KINDS, schema)
        self._block = sql.bind(BLOCK, schema)
        self._claim_these = sql.bind(CLAIM_THESE, schema)
        self._peek = sql.bind(PEEK, schema)
        self._outside = sql.bind(OUTSIDE, schema)
        self._signals = sql.bind(SIGNALS, schema)
        self._ended = sql.bind(ENDED, schema)
        self._orphans = sql.bind(ORPHANS, schema)
        self._pause = sql.bind(PAUSE, schema)
        self._unpause = sql.bind(UNPAUSE, schema)
        self._paused = sql.bind(PAUSED, schema)
        self._accepted_lately = sql.bind(ACCEPTED_LATELY, schema)
        self._entries = sql.bind(ENTRIES, schema)
        self._epoch = epoch
        self._served = served

    async def claim(self, connection: Connection, limit: int) -> list[Claimed]:
        """Take at most `limit` runs that no living owner holds, most urgent first."""
        rows = await connection.fetch(
            self._claim, self._epoch, limit, *_columns(self._served()), *self._latest()
        )
        return [Claimed(*row) for row in rows]

    async def claim_these(self, connection: Connection, runs: Sequence[UUID]) -> list[Claimed]:
        """Take certain runs, whatever their state; those that do not exist are left out."""
        rows = await connection.fetch(self._claim_these, self._epoch, runs, *self._latest())
        return [Claimed(*row) for row in rows]

    def _latest(self) -> tuple[list[str], list[str]]:
        """Return what a run without a version gets: the last one of each workflow."""
        return _columns(list(dict(self._served()).items()))

    async def peek(self, connection: Connection, run: UUID) -> Claimed | None:
        """Return one run as it is, without taking it."""
        row = await connection.fetchrow(self._peek, run)
        return None if row is None else Claimed(*row)

    async def outside(self, connection: Connection, *, count_to: int) -> Outside | None:
        """Return what waits outside memory, its `queued` counted up to `count_to`.

        Runs that nobody here can run are parked first, with the reason, some at a time. None when
        a newer owner has the tenant.
        """
        kinds = [(row[0], row[1]) for row in await connection.fetch(self._kinds)]
        served = {
            kind for name, version in self._served() for kind in ((name, version), (name, ""))
        }
        strangers = [kind for kind in kinds if kind not in served]
        blocked = 0
        if strangers:
            blocked = await connection.fetchval(
                self._block, self._epoch, *_columns(strangers), BLOCK_AT_ONCE
            )
        row = await connection.fetchrow(
            self._outside, self._epoch, *_columns(kinds), count_to, *_columns(served)
        )
        return None if row is None else Outside(row[0], row[1], row[2], blocked)

    async def signals(self, connection: Connection, runs: Sequence[UUID]) -> list[Signal]:
        """Return what was sent to `runs` and not taken yet, oldest first."""
        return [Signal(*row) for row in await connection.fetch(self._signals, runs)]

    async def ended(self, connection: Connection, runs: Sequence[UUID]) -> list[RunEnd]:
        """Return how `runs` ended, of those that have."""
        return [RunEnd(*row) for row in await connection.fetch(self._ended, runs)]

    async def pause(self, connection: Connection, workflow: str, reason: str) -> int | None:
        """Let `workflow`, or with '' the whole tenant, start nothing for now.

        Returns our epoch; None when a newer owner has the tenant.
        """
        epoch: int | None = await connection.fetchval(self._pause, self._epoch, workflow, reason)
        return epoch

    async def unpause(self, connection: Connection, workflow: str) -> int | None:
        """Take that back; returns the same."""
        epoch: int | None = await connection.fetchval(self._unpause, self._epoch, workflow)
        return epoch

    async def pauses(self, connection: Connection) -> list[Pause]:
        """Return what is paused."""
        return [Pause(*row) for row in await connection.fetch(self._paused)]

    async def inherited(self, connection: Connection, lately: timedelta) -> Inherited:
        """Return what a new owner has to know besides the runs that it claims.

        Runs accepted `lately` are counted, which takes a look at each: zero for none.
        """
        since = run_id_at(time.time() - lately.total_seconds())
        accepted = await connection.fetch(self._accepted_lately, since) if lately else []
        orphans = await connection.fetch(self._orphans)
        return Inherited(
            [(minute, count) for minute, count in accepted], [Orphan(*row) for row in orphans]
        )

    async def entries(self, connection: Connection, runs: Sequence[UUID]) -> list[Entries]:
        """Return the journals of `runs`, in order."""
        rows = await connection.fetch(self._entries, runs)
        return [Entries(*row) for row in rows]


async def pauses(connection: Connection, schema: str) -> list[Pause] | None:
    """Return what is paused, for reading; None when the schema has gone since it was looked up."""
    try:
        return [Pause(*row) for row in await connection.fetch(sql.bind(PAUSED, schema))]
    except asyncpg.UndefinedTableError:
        return None


async def page(connection: Connection, schema: str, wanted: RunFilter) -> list[Listed]:
    """Return one page of runs, newest first."""
    rows = await connection.fetch(
        sql.bind(PAGE, schema),
        wanted.states,
        wanted.workflow,
        wanted.since,
        wanted.cursor,
        wanted.limit,
    )
    return [Listed(*row) for row in rows]


async def read(connection: Connection, schema: str, run: UUID) -> Stored | None:
    """Return one run, or None."""
    row: Any = await connection.fetchrow(sql.bind(READ, schema), run)
    return None if row is None else Stored(*row)


async def exists(connection: Connection, schema: str, run: UUID) -> bool:
    """Return whether there is such a run."""
    return bool(await connection.fetchval(sql.bind(EXISTS, schema), run))


async def history(
    connection: Connection, schema: str, run: UUID, *, first: int = 0, limit: int | None = None
) -> list[Moment]:
    """Return the run's journal in order, from the flush on that holds entry `first`."""
    rows = await connection.fetch(sql.bind(HISTORY, schema), run, first, limit)
    return [Moment(*row) for row in rows]


def _columns(kinds: Collection[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [workflow for workflow, _ in kinds], [version for _, version in kinds]
