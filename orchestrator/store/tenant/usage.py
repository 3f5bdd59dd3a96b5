"""What a tenant has used, hour by hour, as its own schema counts it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.tenant.fenced import Fenced

_QUERIES = sql.load(__name__)
FOLD = _QUERIES["fold"]
UNTOLD = _QUERIES["untold"]
MARK = _QUERIES["mark"]
READ = _QUERIES["read"]
ACCEPTED = _QUERIES["accepted"]
HAS_USAGE = _QUERIES["has_usage"]


class HourUsed(msgspec.Struct, frozen=True):
    """All that one ledger counts in one hour; `Counts` says what of."""

    ledger: UUID
    hour: datetime
    submitted: int = 0
    input_bytes: int = 0
    succeeded: int = 0
    failed: int = 0
    dead: int = 0
    cancelled: int = 0
    attempts: int = 0
    task_ms: int = 0


class OwnedUsage:
    """What one owner does with the counts of its tenant; raises as `OwnedConnection` does."""

    def __init__(self, fenced: Fenced) -> None:
        self._run, self._ours, self._epoch = fenced.run, fenced.ours, fenced.epoch
        self._fold = sql.bind(FOLD, fenced.schema)
        self._untold = sql.bind(UNTOLD, fenced.schema)
        self._mark = sql.bind(MARK, fenced.schema)
        self._accepted = sql.bind(ACCEPTED, fenced.schema)

    async def fold(self, limit: int) -> int:
        """Make totals of at most `limit` rows; return how many there were."""
        return self._ours(
            await self._run(lambda c: c.fetchval(self._fold, self._epoch, limit)),
        )

    async def untold(self, limit: int) -> list[HourUsed]:
        """Return the oldest totals that the control schema may not have as they are."""
        rows = await self._run(lambda c: c.fetch(self._untold, limit))
        return [HourUsed(*row) for row in rows]

    async def mark(self, told: Sequence[HourUsed], *, keep_from: datetime) -> None:
        """Note that the control schema has these, and let go of those before `keep_from`.

        Nothing may be folded between `untold` and this.
        """
        hours = [row.hour for row in told]
        self._ours(await self._run(lambda c: c.fetchval(self._mark, self._epoch, hours, keep_from)))

    async def accepted(self) -> dict[str, int]:
        """Return how many runs were accepted lately, whoever has added them, by limit.

        Empty when none was added under that limit in the last minutes.
        """
        row = await self._run(lambda c: c.fetchrow(self._accepted))
        return {limit: used for limit, used in dict(row or {}).items() if used is not None}


async def read(connection: Connection, schema: str) -> list[HourUsed]:
    """Return the exact usage of the hours that the schema has; none when it has no such table.

    What is not told yet is here, and so are the last days; older hours may be gone.
    """
    if not await connection.fetchval(HAS_USAGE, schema):
        return []  # never made, or by a version that did not count
    rows = await connection.fetch(sql.bind(READ, schema))
    return [HourUsed(*row) for row in rows]
