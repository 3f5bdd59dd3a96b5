"""The group commit, in one statement.

It stores everything that happened to a tenant's runs since the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
TAKE_OVER = _QUERIES["take_over"]
CONFIRM = _QUERIES["confirm"]
FLUSH = _QUERIES["flush"]
KNOWN = _QUERIES["known"]


REFUSED = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.exceptions.DataError,
)
"""What the driver raises for rows that the database will not store."""


class NewRun(msgspec.Struct, frozen=True):
    """A run to add.

    `tags` and `input` are JSON text, `epoch` is 0 when nobody holds it in memory yet.
    """

    id: UUID
    workflow: str
    version: str
    state: str
    queue: str
    priority: int
    epoch: int
    key: str | None
    tags: str
    input: str


class ChangedRun(msgspec.Struct, frozen=True):
    """The present of a run that is there already; JSON columns are text."""

    id: UUID
    state: str
    output: str | None
    context: str | None
    error: str | None
    due_at: datetime | None
    finished: bool


class Logged(msgspec.Struct, frozen=True):
    """What happened to one run; `fresh` when the run is added by the same batch."""

    run_id: UUID
    seq: int
    entries: str
    fresh: bool


class Batch(msgspec.Struct, frozen=True):
    """One flush."""

    added: Sequence[NewRun]
    changed: Sequence[ChangedRun]
    logged: Sequence[Logged]


class Committed(msgspec.Struct, frozen=True):
    """The answer to a flush: the database's time and how many of the new runs were added."""

    at: datetime
    added: int


class Known(msgspec.Struct, frozen=True):
    """A run that holds an id or key asked for."""

    id: UUID
    workflow: str
    key: str | None
    state: str


class Journal:
    """The statements of one tenant, bound to its schema once."""

    def __init__(self, schema: str, *, epoch: int, node: str) -> None:
        self._flush = sql.bind(FLUSH, schema)
        self._take_over = sql.bind(TAKE_OVER, schema)
        self._confirm = sql.bind(CONFIRM, schema)
        self._known = sql.bind(KNOWN, schema)
        self._epoch = epoch
        self._node = node

    async def take_over(self, connection: Connection) -> datetime | None:
        """Raise the fence to our epoch.

        Return the database's time, or None when a newer owner was here.
        """
        moment: datetime | None = await connection.fetchval(self._take_over, self._epoch)
        return moment

    async def confirm(self, connection: Connection) -> datetime | None:
        """Return the database's time if we are the owner still, else None."""
        moment: datetime | None = await connection.fetchval(self._confirm, self._epoch)
        return moment

    async def flush(self, connection: Connection, batch: Batch) -> Committed | None:
        """Commit `batch`; None when the fence refused it, and then nothing was written."""
        added, changed, logged = batch.added, batch.changed, batch.logged
        row = await connection.fetchrow(
            self._flush,
            self._epoch,
            self._node,
            [run.id for run in added],
            [run.workflow for run in added],
            [run.version for run in added],
            [run.state for run in added],
            [run.queue for run in added],
            [run.priority for run in added],
            [run.epoch for run in added],
            [run.key for run in added],
            [run.tags for run in added],
            [run.input for run in added],
            [run.id for run in changed],
            [run.state for run in changed],
            [run.output for run in changed],
            [run.context for run in changed],
            [run.error for run in changed],
            [run.due_at for run in changed],
            [run.finished for run in changed],
            [event.run_id for event in logged],
            [event.seq for event in logged],
            [event.entries for event in logged],
            [event.fresh for event in logged],
        )
        return None if row is None else Committed(*row)

    async def known(self, connection: Connection, runs: Sequence[NewRun]) -> list[Known]:
        """Return the stored runs that hold an id or a key of `runs`."""
        keyed = [run for run in runs if run.key is not None]
        rows = await connection.fetch(
            self._known,
            [run.id for run in runs],
            [run.workflow for run in keyed],
            [run.key for run in keyed],
        )
        return [Known(*row) for row in rows]
