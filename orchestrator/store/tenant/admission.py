"""Runs are counted against the tenant's limits in the transaction that adds them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from orchestrator.model.errors import QuotaExceeded
from orchestrator.store import sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
ADMIT = _QUERIES["admit"]


class Allowance(msgspec.Struct, frozen=True):
    """The limits of a tenant that count runs, as JSON; see `quota.limits.of_counts`."""

    tenant: str
    limits: str


class Refused(msgspec.Struct, frozen=True):
    """Why runs do not fit, as the database tells it; `retry_after` is in seconds, 0 for never."""

    limit: str
    allowed: int
    retry_after: float
    sentence: str = ""


class HeldUp(Exception):
    """Runs were not counted: another transaction has counted its own, and does not end.

    `error` is what to say to whom has sent them.
    """

    def __init__(self, error: QuotaExceeded) -> None:
        super().__init__(str(error))
        self.error = error


class Admitted(msgspec.Struct, frozen=True):
    """What has come of counting runs: when all of a `rate` is back, and why none fits any more.

    Each is None when there is no such thing.
    """

    full_at: datetime | None = None
    over: QuotaExceeded | None = None


async def admit(
    connection: Connection,
    schema: str,
    allowance: Allowance,
    accepted: Sequence[int],
    *,
    refusable: bool = True,
) -> Admitted:
    """Count runs that the transaction has added, by the milliseconds at which they were `accepted`.

    Raises QuotaExceeded when they do not fit, or HeldUp: then the transaction has to be taken back.
    Those that are not `refusable` are added in any case.
    """
    moments = [datetime.fromtimestamp(each / 1000, UTC) for each in accepted]
    arguments = (allowance.tenant, allowance.limits, moments, refusable)
    row = await connection.fetchrow(sql.bind(ADMIT, schema), *arguments)
    refused, full_at, held = row  # type: ignore[misc]  # it always has its row
    if refused is None:
        return Admitted(full_at)
    found = msgspec.json.decode(refused, type=Refused)
    error = QuotaExceeded(allowance.tenant, **msgspec.structs.asdict(found))
    if refusable and held:
        raise HeldUp(error)
    if refusable:
        raise error
    return Admitted(full_at, error)
