"""What crosses the API about a tenant in figures."""

from __future__ import annotations

from datetime import datetime

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
