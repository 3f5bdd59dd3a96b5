"""What a tenant's tables hold of its schedules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.tenant.fenced import Fenced

_QUERIES = sql.load(__name__)
SYNC = _QUERIES["sync"]
STORED = _QUERIES["stored"]
PAUSE = _QUERIES["pause"]
SEEN = _QUERIES["seen"]


class Declared(msgspec.Struct, frozen=True):
    """A schedule to store; `spec` is JSON text."""

    name: str
    spec: str
    last_fire_at: datetime


class Stored(msgspec.Struct, frozen=True):
    """What is stored of one schedule; without `spec` and `last_fire_at` when it is new."""

    name: str
    spec: str | None
    paused: bool
    last_fire_at: datetime | None
    held: datetime | None
    active: list[UUID]


class Seen(msgspec.Struct, frozen=True):
    """A schedule for reading, with its newest fire if there was any."""

    name: str
    paused: bool
    last_fire_at: datetime
    fire_at: datetime | None
    outcome: str | None
    reason: str | None
    run_id: UUID | None
    fired_at: datetime | None


class OwnedSchedules:
    """The schedules of one tenant under one epoch; raises as `OwnedConnection` does."""

    def __init__(self, fenced: Fenced) -> None:
        self._run, self._ours, self._epoch = fenced.run, fenced.ours, fenced.epoch
        self._sync = sql.bind(SYNC, fenced.schema)
        self._stored = sql.bind(STORED, fenced.schema)
        self._pause = sql.bind(PAUSE, fenced.schema)

    async def stored(self, names: Sequence[str]) -> list[Stored]:
        """Return what is stored of all schedules, and of `names`."""
        rows = await self._run(lambda c: c.fetch(self._stored, names))
        return [Stored(*row) for row in rows]

    async def sync(self, declared: Sequence[Declared]) -> None:
        """Make the stored schedules these."""
        names = [each.name for each in declared]
        specs = [each.spec for each in declared]
        lasts = [each.last_fire_at for each in declared]
        self._ours(
            await self._run(lambda c: c.fetchval(self._sync, self._epoch, names, specs, lasts))
        )

    async def pause(self, name: str, *, paused: bool, last: datetime) -> None:
        """Pause a schedule, or let it go on; what was due up to `last` is dealt with."""
        self._ours(
            await self._run(lambda c: c.fetchval(self._pause, self._epoch, name, paused, last))
        )


async def seen(connection: Connection, schema: str) -> list[Seen]:
    """Return the schedules that are stored, for reading."""
    return [Seen(*row) for row in await connection.fetch(sql.bind(SEEN, schema))]
