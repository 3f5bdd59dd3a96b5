"""What a tenant's schema counts now goes over what it told before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from orchestrator.daemon.usage import merged
from orchestrator.store.control.usage import Told
from orchestrator.store.tenant.usage import HourUsed

DAY = datetime(2026, 3, 1, tzinfo=UTC)
NINE = DAY + timedelta(hours=9)
OLD, NEW = UUID(int=1), UUID(int=2)


def test_an_hour_that_grew_since_it_was_told_counts_as_it_is_now() -> None:
    told = [Told(NEW, "hour", NINE, submitted=3), Told(OLD, "hour", NINE, submitted=10)]

    for span, starts_at in (("hour", NINE), ("day", DAY)):
        (row,) = merged([HourUsed(NEW, NINE, submitted=5)], told, span)  # type: ignore[arg-type]

        assert (row.starts_at, row.counts.submitted, row.span) == (starts_at, 15, span)


def test_an_hour_that_a_day_sums_up_already_does_not_count_again() -> None:
    day = Told(NEW, "day", DAY, hours=1 << 9, attempts=7)
    ten = HourUsed(NEW, NINE + timedelta(hours=1), attempts=1)

    by_day = merged([HourUsed(NEW, NINE, attempts=7), ten], [day], "day")
    by_hour = merged([HourUsed(NEW, NINE, attempts=7), ten], [day], "hour")

    assert [(row.span, row.counts.attempts) for row in by_day] == [("day", 8)]
    assert [(row.span, row.counts.attempts) for row in by_hour] == [("day", 7), ("hour", 1)]
