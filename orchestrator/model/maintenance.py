"""What crosses the API about the maintenance of a tenant's tables."""

from __future__ import annotations

import msgspec

from orchestrator.model.api import Wire


class TableCare(Wire, frozen=True, kw_only=True):
    """What was done to one table; `problem` is why something was not, null when all was.

    `checked` counts the indexes that were looked into, null where the extension amcheck is not
    installed; `corrupt` says what is wrong with which of them. `bytes` are with its indexes.
    """

    name: str
    vacuumed: bool
    seconds: float
    bytes_before: int
    bytes_after: int
    checked: int | None = None
    corrupt: list[str] = msgspec.field(default_factory=list)
    problem: str | None = None


class MaintenanceReport(Wire, frozen=True, kw_only=True):
    """The tables that were cared for by one request, by name.

    `left` counts those that come after; ask again `after` the last one of these.
    """

    tenant: str
    tables: list[TableCare]
    left: int = 0
