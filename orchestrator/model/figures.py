"""What crosses the API about a tenant in figures."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from orchestrator.model.api import Wire


class RunFigures(Wire, frozen=True, kw_only=True):
    """The runs that were accepted within some time; `failed` counts the dead ones too.

    `p50` and `p95` are seconds from the start of the first attempt to the end of the run, of those
    that have ended; null when none has.
    """

    accepted: int
    succeeded: int
    failed: int
    p50: float | None
    p95: float | None


class ErrorFigures(Wire, frozen=True, kw_only=True):
    """How many runs accepted within the last day have failed with one type of error."""

    workflow: str
    type: str
    runs: int
    last_at: datetime


class TableFigures(Wire, frozen=True, kw_only=True):
    """One table: bytes on disk with its indexes, rows as estimated, and counted if asked for."""

    name: str
    bytes: int
    estimated_rows: int
    rows: int | None = None


class TenantFigures(Wire, frozen=True, kw_only=True):
    """A tenant in figures; what could not be read in time, or is locked, is null and in `unread`.

    `runs` counts all that are kept, by state; `connections` are those of its two logins.
    """

    tenant: str
    runs: dict[str, int] | None = None
    hour: RunFigures | None = None
    day: RunFigures | None = None
    errors: list[ErrorFigures] | None = None
    last_active_at: datetime | None = None
    connections: int | None = None
    schema_bytes: int | None = None
    tables: list[TableFigures] | None = None
    unread: list[str] = msgspec.field(default_factory=list)


class FiguresOrder(StrEnum):
    """What the list of all tenants in figures is sorted by; but for the id, the largest first."""

    ID = "id"
    RUNS = "runs"
    DAY = "day"
    ERRORS = "errors"
    TIME = "time"
    SIZE = "size"
    ROWS = "rows"
    LAST_ACTIVITY = "last-activity"


class ListedFigures(Wire, frozen=True, kw_only=True):
    """A tenant in figures as they were last read; what is not known is null.

    `read_at` is null when that was never done, `age` is how many seconds ago it was. `used` is
    false before the tenant has tables. `failed` counts the dead runs too, as `runs` of all that are
    kept, `day` those that were accepted in the day before the reading.
    """

    tenant: str
    name: str
    state: str
    used: bool = False
    read_at: datetime | None = None
    age: float | None = None
    last_active_at: datetime | None = None
    runs: int | None = None
    failed: int | None = None
    day: RunFigures | None = None
    schema_bytes: int | None = None
    tables: int | None = None
    estimated_rows: int | None = None
    rows: int | None = None
    """All rows, as they were counted at `rows_counted_at` on request; null when they never were."""

    rows_counted_at: datetime | None = None


class TotalFigures(Wire, frozen=True, kw_only=True):
    """Sums over the tenants that were read, `read` of all `tenants`.

    `oldest_read_at` is when the one was read that was read first. `failed` counts the dead runs
    too, `day_accepted` and `day_failed` are of the day before each reading.
    """

    tenants: int
    read: int
    oldest_read_at: datetime | None
    runs: int
    failed: int
    day_accepted: int
    day_failed: int
    schema_bytes: int
    tables: int
    estimated_rows: int


class InstallationFigures(Wire, frozen=True, kw_only=True):
    """Answer of `GET /v1/stats`: all tenants in figures, or the first of them; sums over all."""

    totals: TotalFigures
    tenants: list[ListedFigures]
