"""Reads the times in a query."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.model.errors import InvalidRequest


def in_utc(name: str, moment: datetime | None) -> datetime | None:
    """Return the time that the parameter `name` has, in UTC; InvalidRequest when that is none.

    >>> in_utc("since", datetime.fromisoformat("2026-01-31T09:00:00+01:00")).isoformat()
    '2026-01-31T08:00:00+00:00'
    """
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise InvalidRequest(f"`{name}`: a time needs its offset, such as 2026-01-31T00:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidRequest(f"`{name}`: {moment.isoformat()} is no time of UTC") from None
