"""What crosses the API about what tenants have used, and what came near to a limit."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import msgspec

from orchestrator.model.api import Alert, Wire
from orchestrator.model.errors import InvalidRequest
from orchestrator.model.ids import tenant_id_problems

Span = Literal["hour", "day"]


class Counts(Wire, frozen=True, kw_only=True):
    """What was used within some time; whole numbers, so that sums are exact.

    `submitted` runs were stored then, and `input_bytes` is what their inputs take as stored. The
    next four are ends of runs: one that is retried may have several. `attempts` at tasks came to
    an end then, and took `task_ms` milliseconds.
    """

    submitted: int = 0
    input_bytes: int = 0
    succeeded: int = 0
    failed: int = 0
    dead: int = 0
    cancelled: int = 0
    attempts: int = 0
    task_ms: int = 0


COUNTERS = Counts.__struct_fields__


def day_of(moment: datetime) -> datetime:
    """Return when the day of UTC began in which a moment is.

    >>> day_of(datetime(2026, 1, 31, 23, 30, tzinfo=UTC)).isoformat()
    '2026-01-31T00:00:00+00:00'
    """
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum.

    >>> total([Counts(submitted=1), Counts(submitted=2, failed=1)]).submitted
    3
    """
    rows = [msgspec.structs.astuple(each) for each in counts]
    return Counts(**dict(zip(COUNTERS, map(sum, zip(*rows, strict=True)), strict=False)))


class Used(Counts, frozen=True, kw_only=True):
    """What one tenant used in the hour or day of UTC that begins at `starts_at`.

    Hours of long ago are kept as days: `span` tells which it is. `registration` is the same for all
    rows of one tenant, and another one for each tenant that was ever made under its id; those that
    were deleted are `gone`.
    """

    tenant: str
    registration: UUID
    gone: bool = False
    span: Span
    starts_at: datetime


class Near(msgspec.Struct, frozen=True):
    """A limit of which a good part is used, in the window that began at `since`."""

    quota: str
    since: datetime
    used: int
    allowed: int


class UsagePage(Wire, frozen=True, kw_only=True):
    """Rows by tenant and time; `cursor` leads to the next page, null after the last one."""

    rows: list[Used]
    cursor: str | None = None


Place = tuple[str, datetime, UUID]
"""A row of a list of usage: its tenant, time and registration."""


def cursor_behind(place: Place) -> str:
    """Return the cursor that leads on behind a row.

    >>> cursor_behind(("acme", datetime(2026, 1, 31, tzinfo=UTC), UUID(int=1)))
    'acme 2026-01-31T00:00:00+00:00 00000000-0000-0000-0000-000000000001'
    """
    tenant, starts_at, registration = place
    return f"{tenant} {starts_at.isoformat()} {registration}"


def place_of(cursor: str) -> Place:
    """Return the row behind which a cursor leads on, its time in UTC; InvalidRequest.

    >>> place_of(f"acme 2026-01-31T00:00:00+00:00 {UUID(int=1)}")[0]
    'acme'
    """
    try:
        tenant, at, registration = cursor.split(" ")
        moment, id = datetime.fromisoformat(at), UUID(registration)
        if moment.tzinfo is not None and not tenant_id_problems(tenant):
            return tenant, moment.astimezone(UTC), id
    except (ValueError, OverflowError):  # no time, or one that UTC's calendar does not have
        pass
    raise InvalidRequest(
        "`cursor`: it is not one that was given",
        hint="pass on the `cursor` of the page before as it is",
    )


class TenantUsage(Wire, frozen=True, kw_only=True):
    """What one tenant used, oldest first, and its newest alerts first.

    `exact` is false when the database of the tenant did not answer: then what it used within the
    last minutes may be missing.
    """

    tenant: str
    exact: bool
    rows: list[Used]
    alerts: list[Alert]
