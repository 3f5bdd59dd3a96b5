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


async def admit(
    connection: Connection,
    schema: str,
    allowance: Allowance,
    accepted: Sequence[int],
    *,
    refusable: bool = True,
) -> datetime | None:
    """Count runs that the transaction has added, by the milliseconds at which they were `accepted`.

    Return when all of a `rate` is back, None for none. Raises QuotaExceeded: then the transaction
    has to be taken back. Those that are not `refusable` count, too.
    """
    moments = [datetime.fromtimestamp(each / 1000, UTC) for each in accepted]
    arguments = (allowance.tenant, allowance.limits, moments, refusable)
    row = await connection.fetchrow(sql.bind(ADMIT, schema), *arguments)
    refused, full_at = row  # type: ignore[misc]  # it always has its row
    if refused is not None:
        found = msgspec.json.decode(refused, type=Refused)
        raise QuotaExceeded(allowance.tenant, **msgspec.structs.asdict(found))
    moment: datetime | None = full_at
    return moment
