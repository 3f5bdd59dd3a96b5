"""The group commit, in one statement.

It stores everything that happened to a tenant's runs since the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import asyncpg
import msgspec

from orchestrator.model.errors import LockNotHad
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.tenant.admission import Admitted, Allowance, admit
from orchestrator.store.tenant.fence import Fence

_ENCODER = msgspec.json.Encoder()
_QUERIES = sql.load(__name__)
TAKE_OVER = _QUERIES["take_over"]
CONFIRM = _QUERIES["confirm"]
FLUSH = _QUERIES["flush"]
CHANGE = _QUERIES["change"]
LOG = _QUERIES["log"]
KNOWN = _QUERIES["known"]
SEND = _QUERIES["send"]
TAKE = _QUERIES["take"]
NUDGE = _QUERIES["nudge"]
HOLD = _QUERIES["hold"]
FIRE = _QUERIES["fire"]
HURRY = _QUERIES["hurry"]


class FireTaken(Exception):
    """Something else became of that fire already."""


REFUSED = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    FireTaken,
)
"""What is raised for rows that the database will not store."""


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
    rank: int
    epoch: int
    key: str | None
    tags: str
    input: str
    parent_id: UUID | None = None
    due_at: datetime | None = None
    deadline_at: datetime | None = None

    @property
    def accepted(self) -> int:
        """When it was accepted, in milliseconds since 1970: the rank is made of it."""
        return self.rank + self.priority * 60_000


class ChangedRun(msgspec.Struct, frozen=True):
    """The present of a run that is there already; JSON columns are text.

    `heard` is how many signals that were not taken before this flush the run knows of.
    """

    id: UUID
    state: str
    output: str | None
    context: str | None
    error: str | None
    due_at: datetime | None
    epoch: int
    finished: bool
    reopened: bool = False
    heard: int = 0


class Logged(msgspec.Struct, frozen=True):
    """What happened to one run; `fresh` when the run is added by the same batch."""

    run_id: UUID
    seq: int
    entries: str
    fresh: bool


class Completion(msgspec.Struct, frozen=True):
    """The entries, from number `seq` on, that a task commits itself; it took `task_ms`."""

    run: UUID
    seq: int
    entries: str
    task_ms: int


class Ended(msgspec.Struct, frozen=True):
    """What came to an end: runs, by how they did, and attempts with the milliseconds they took.

    The order is that of the statements' arrays.
    """

    succeeded: int = 0
    failed: int = 0
    dead: int = 0
    cancelled: int = 0
    attempts: int = 0
    task_ms: int = 0


NOTHING_ENDED = Ended()


class Sent(msgspec.Struct, frozen=True):
    """A signal for a run; `payload` is JSON text."""

    run_id: UUID
    id: UUID
    name: str
    key: str | None
    payload: str


class Fired(msgspec.Struct, frozen=True):
    """What became of one fire of a schedule; `workflow` and `key` are of the run that it started.

    Every fire up to one that `advances` its schedule is dealt with.
    """

    schedule: str
    fire_at: datetime
    outcome: str
    reason: str = ""
    workflow: str | None = None
    key: str | None = None
    advances: bool = True


class Delivered(msgspec.Struct, frozen=True):
    """The runs that can take a signal, and the signals that were left for them.

    One whose key was used before is not left again.
    """

    live: set[UUID]
    left: set[UUID]


class Batch(msgspec.Struct, frozen=True):
    """One flush.

    `taken` are signals (run and id) that its entries have consumed, and `nudged` runs that are to
    be looked at if they rest outside memory. What has `ended` is told by rows in `logged` that are
    not fresh. What is `added` fits the `allowance`, or nothing is written; children count, and
    alone are not refused: their parent was promised them. `hurried`, it waits for what somebody
    else has locked no longer than a moment.
    """

    added: Sequence[NewRun] = ()
    changed: Sequence[ChangedRun] = ()
    logged: Sequence[Logged] = ()
    taken: Sequence[tuple[UUID, UUID]] = ()
    nudged: Sequence[UUID] = ()
    fires: Sequence[Fired] = ()
    ended: Ended = NOTHING_ENDED
    allowance: Allowance | None = None
    hurried: bool = False

    @property
    def keyed(self) -> bool:
        """Whether a run is added with a key."""
        return any(run.key is not None for run in self.added)

    @property
    def rows(self) -> int:
        """How many rows it writes."""
        return len(self.added) + len(self.changed) + len(self.logged) + len(self.fires)


class Committed(msgspec.Struct, frozen=True):
    """The answer to a flush: the database's time and how many of the new runs were added.

    `admitted` is what counting them has told, if they were.
    """

    at: datetime
    added: int
    admitted: Admitted | None = None


Key = tuple[str, str]
"""A workflow and an idempotency key of its."""


class Keyed(Protocol):
    """A run, stored or asked for, that may have a key."""

    @property
    def workflow(self) -> str: ...
    @property
    def key(self) -> str | None: ...


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
        self._change = sql.bind(CHANGE, schema)
        self._log = sql.bind(LOG, schema)
        self._take_over = sql.bind(TAKE_OVER, schema)
        self._confirm = sql.bind(CONFIRM, schema)
        self._send = sql.bind(SEND, schema)
        self._take = sql.bind(TAKE, schema)
        self._nudge = sql.bind(NUDGE, schema)
        self._hold = sql.bind(HOLD, schema)
        self._fire = sql.bind(FIRE, schema)
        self.schema = schema
        self._epoch = self.epoch = epoch
        self._node = node
        self.fence = Fence(schema, epoch, node)

    async def take_over(self, connection: Connection) -> datetime | None:
        """Raise the fence to our epoch.

        Return the database's time, or None when a newer owner was here.
        """
        moment: datetime | None = await connection.fetchval(
            self._take_over, self._epoch, self.fence.seal
        )
        return moment

    async def confirm(self, connection: Connection) -> datetime | None:
        """Return the database's time if we are the owner still, else None."""
        moment: datetime | None = await connection.fetchval(self._confirm, self._epoch)
        return moment

    async def flush(self, connection: Connection, batch: Batch) -> Committed | None:
        """Commit `batch`; None when the fence refused it, and then nothing was written.

        One statement, but for the rare batch that takes signals, nudges other runs, has fires or is
        hurried, and for one that adds runs under an allowance. Raises QuotaExceeded when they do
        not fit.
        """
        counted = batch.allowance is not None and batch.added
        if not (batch.taken or batch.nudged or batch.fires or counted or batch.hurried):
            return await self._write(connection, batch)
        async with connection.transaction():
            if batch.hurried:
                await connection.execute(HURRY)
            committed = await self._write(connection, batch)
            if committed is not None and batch.fires:
                await self._note(connection, batch.fires)
            if committed is not None and (batch.taken or batch.nudged):
                runs, signals = [r for r, _ in batch.taken], [s for _, s in batch.taken]
                await connection.execute(self._take, runs, signals)
                await connection.execute(self._nudge, list(batch.nudged))
            if committed is not None and committed.added and batch.allowance is not None:
                # Last, so that others who add runs wait for no more than this commit.
                admitted = await self._admit(connection, batch, batch.allowance, committed.added)
                committed = msgspec.structs.replace(committed, admitted=admitted)
        return committed

    async def _admit(
        self, connection: Connection, batch: Batch, allowance: Allowance, added: int
    ) -> Admitted:
        accepted = [run.accepted for run in batch.added][:added]
        refusable = any(run.parent_id is None for run in batch.added)
        return await admit(connection, self.schema, allowance, accepted, refusable=refusable)

    async def send(self, connection: Connection, signals: Sequence[Sent]) -> Delivered | None:
        """Leave signals; None when we are not the owner."""
        async with connection.transaction():
            if await connection.fetchval(self._hold, self._epoch) is None:
                return None
            runs = [signal.run_id for signal in signals]
            rows = await connection.fetch(
                self._send,
                runs,
                [signal.id for signal in signals],
                [signal.name for signal in signals],
                [signal.key for signal in signals],
                [signal.payload for signal in signals],
            )
            await connection.execute(self._nudge, runs)
        return Delivered({run for run, _ in rows}, {signal for _, signal in rows if signal})

    async def _write(self, connection: Connection, batch: Batch) -> Committed | None:
        always = self._epoch, self._node, _rows(batch.logged)
        ended = None if batch.ended == NOTHING_ENDED else msgspec.structs.astuple(batch.ended)
        if batch.added:
            row = await connection.fetchrow(
                self._flush, *always, _rows(batch.changed), _rows(batch.added), ended
            )
        elif batch.changed:
            row = await connection.fetchrow(self._change, *always, _rows(batch.changed), ended)
        else:
            row = await connection.fetchrow(self._log, *always, ended)
        return None if row is None else Committed(*row)

    async def _note(self, connection: Connection, fires: Sequence[Fired]) -> None:
        # Of one fire the last word counts: it may have been held and let go in one batch.
        final = list({(fire.schedule, fire.fire_at): fire for fire in fires}.values())
        noted = await connection.fetchval(
            self._fire,
            self._epoch,
            [fire.schedule for fire in final],
            [fire.fire_at for fire in final],
            [fire.outcome for fire in final],
            [fire.reason for fire in final],
            [fire.workflow for fire in final],
            [fire.key for fire in final],
            [fire.advances for fire in final],
        )
        if noted != len(final):
            names = ", ".join(sorted({fire.schedule for fire in final}))
            raise FireTaken(f"a fire of {names} was dealt with before")

    async def known(
        self, connection: Connection, ids: Sequence[UUID], keys: Sequence[Key]
    ) -> list[Known]:
        """Return the stored runs that hold one of these ids or keys."""
        return await known(connection, self.schema, ids, keys)


async def known(
    connection: Connection, schema: str, ids: Sequence[UUID], keys: Sequence[Key]
) -> list[Known]:
    """Return the stored runs that hold one of these ids or keys."""
    workflows, names = [workflow for workflow, _ in keys], [key for _, key in keys]
    rows = await connection.fetch(sql.bind(KNOWN, schema), ids, workflows, names)
    return [Known(*row) for row in rows]


def _rows(rows: Sequence[msgspec.Struct]) -> str:
    """Return the rows as one JSON text.

    Not an array for each column: of those the driver looks at each element twice. Raises DataError,
    as the driver does, for a text with half of a character.
    """
    try:
        return _ENCODER.encode(rows).decode()
    except UnicodeEncodeError as error:
        raise asyncpg.DataError(str(error)) from None


def keys_of(runs: Iterable[Keyed]) -> list[Key]:
    """Return the keys of those runs that have one."""
    return [(run.workflow, run.key) for run in runs if run.key is not None]


def key_held(runs: Sequence[Keyed]) -> LockNotHad:
    """Return why new runs of which one at least has a key are not stored for now."""
    keys = keys_of(runs)
    what = "the key of one of the runs that came together"
    if len(keys) == 1:
        ((workflow, key),) = keys
        what = f"the key {key!r} of workflow {workflow!r}"
    return LockNotHad(
        f"a transaction that has not ended holds {what}",
        hint="nothing was stored; try again when whoever calls insula.submit has committed",
        retry_after=5.0,
    )
