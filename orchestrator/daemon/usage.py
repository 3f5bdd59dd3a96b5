"""What tenants have used: read from their schemas and from what they have told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import anyio
import msgspec
import structlog

from orchestrator.model.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    InvalidRequest,
    TenantNotFound,
    Unavailable,
)
from orchestrator.model.ids import TenantId, tenant_id_problems
from orchestrator.model.usage import (
    COUNTERS,
    Counts,
    Span,
    TenantUsage,
    UsagePage,
    Used,
    cursor_behind,
    day_of,
    place_of,
    total,
)
from orchestrator.store.connect import DRIVER_ERRORS
from orchestrator.store.control import usage
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.control.usage import HOURS_KEPT, Told, Wanted
from orchestrator.store.shards import Shards
from orchestrator.store.tenant import usage as counted
from orchestrator.store.tenant.usage import HourUsed
from supervisors.refusals import database_away
from supervisors.root import RootSupervisor
from supervisors.standing import Standing

CONDENSE_SECONDS = 3600.0
CONDENSE = 5_000
ALERTS = 20
LONGEST = {"hour": timedelta(days=366), "day": timedelta(days=3660)}
"""How much of one tenant is shown at once."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Usages:
    """Reads usage, and keeps what there is of it from growing for ever."""

    root: RootSupervisor
    shards: Shards
    standing: Standing

    async def page(
        self, since: datetime, until: datetime, span: Span, *, limit: int, cursor: str | None
    ) -> UsagePage:
        """Return what all tenants used, also those that are gone, as they have told it.

        DatabaseUnavailable, here and below, at once while the database is known to be silent.
        """
        self._check_answers()
        after = None if cursor is None else place_of(cursor)
        wanted = Wanted(since, until, span, limit + 1, after)
        async with self.shards.control.acquire() as connection:
            rows = await usage.page(connection, wanted)
        more = None
        if len(rows) > limit:
            last = rows[limit - 1]
            more = cursor_behind((last.tenant, last.starts_at, last.registration))
        return UsagePage(rows=rows[:limit], cursor=more)

    async def of_tenant(
        self, name: str, since: datetime, until: datetime, span: Span
    ) -> TenantUsage:
        """Return what one tenant used, to this moment; also of one that is gone."""
        if until - since > LONGEST[span]:
            raise InvalidRequest(f"at most {LONGEST[span].days} days can be shown by {span}")
        self._check_answers()
        row = await self._row(name)
        here = await self._live(row)  # before what was told: what leaves here is there by then
        async with self.shards.control.acquire() as connection:
            told = await usage.of_tenant(connection, row.registration, since, until)
            alerts = await usage.alerts(connection, row.registration, ALERTS)
        lately = [each for each in here or () if since <= each.hour < until]
        return TenantUsage(
            tenant=row.id,
            exact=here is not None,
            rows=[
                Used(
                    tenant=row.id,
                    registration=row.registration,
                    gone=row.state == "removed",
                    starts_at=each.starts_at,
                    span=each.span,
                    **msgspec.structs.asdict(each.counts),
                )
                for each in merged(lately, told, span)
            ],
            alerts=alerts,
        )

    async def condense(self) -> None:
        """Make days of old hours, for ever."""
        while True:
            await anyio.sleep(CONDENSE_SECONDS)
            if self.standing.outage is not None:
                continue
            try:
                await self.condense_once(datetime.now(UTC))
            except (Unavailable, *DRIVER_ERRORS) as error:
                log.warning("usage.not_condensed", error=str(error))

    async def condense_once(self, now: datetime) -> None:
        """Make days of the hours that are old by now."""
        # Whole days: one that is not over keeps its hours.
        before = day_of(now - HOURS_KEPT)
        async with self.shards.control.acquire() as connection:
            while await usage.condense(connection, before, CONDENSE) == CONDENSE:
                pass

    def _check_answers(self) -> None:
        if self.standing.outage is not None:
            raise database_away(self.standing.outage)

    async def _row(self, name: str) -> TenantRow:
        """Return the tenant of that id or alias, or the tombstone of one that was called so."""
        try:
            return await self.shards.row(self.root.resolve(name))
        except TenantNotFound:
            if tenant_id_problems(name):
                raise
            return await self.shards.row(TenantId(name))

    async def _live(self, row: TenantRow) -> list[HourUsed] | None:
        """Return what the tenant's own schema counts; None when it can not be asked."""
        if row.state != "provisioned":
            return []
        try:
            async with self.shards.lend(row) as connection:
                return await counted.read(connection, row.schema_name)
        except (DatabaseUnavailable, DatabaseRefused) as error:
            log.warning("usage.not_read", tenant=row.id, error=str(error))
            return None


class Sum(msgspec.Struct, frozen=True):
    """What was used in the hour or day that begins at `starts_at`."""

    starts_at: datetime
    span: Span
    counts: Counts


def merged(here: Iterable[HourUsed], told: Iterable[Told], span: Span) -> list[Sum]:
    """Return the sums by `span`; what a ledger counts in an hour now goes over what it told."""
    found: dict[tuple[object, Span, datetime], Told | HourUsed] = {
        (each.ledger, each.span, each.starts_at): each for each in told
    }
    for each in here:
        day = found.get((each.ledger, "day", day_of(each.hour)))
        if not (isinstance(day, Told) and day.hours >> each.hour.astimezone(UTC).hour & 1):
            found[each.ledger, "hour", each.hour] = each
    rows: dict[datetime, list[Counts]] = defaultdict(list)
    days = set()
    for (_, kind, at), counts in found.items():
        starts_at = at if span == "hour" else day_of(at)
        if kind == "day":
            days.add(starts_at)
        rows[starts_at].append(Counts(**{name: getattr(counts, name) for name in COUNTERS}))
    return [
        Sum(starts_at=at, span="day" if at in days else span, counts=total(rows[at]))
        for at in sorted(rows)
    ]
