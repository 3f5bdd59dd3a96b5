"""What is said of a tenant that nobody serves any more."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.daemon.why import explain_absence
from orchestrator.store.control.tenants import TenantRow, unfit

_NOTHING: dict[str, Any] = dict.fromkeys(TenantRow.__struct_fields__)


@pytest.mark.parametrize(
    ("results", "done", "goes_on"),
    [
        ("purge", "deleted", "insula tenant delete acme"),
        ("keep", "deleted", "insula tenant delete acme"),
        ("erase", "erased", "insula tenant erase acme"),
        ("archive", "archived", "insula tenant archive acme"),
    ],
)
def test_nobody_is_told_to_delete_what_is_being_archived_or_erased(
    results: str, done: str, goes_on: str
) -> None:
    begun = {"id": "acme", "state": "deleting", "results": results}
    row = TenantRow(**_NOTHING | begun | {"removed_at": datetime(2026, 1, 31, tzinfo=UTC)})

    refused = unfit(row)

    assert str(refused).startswith(f"tenant 'acme' is being {done} since 2026-01-31")
    assert refused.hint.startswith(f"{goes_on} goes on")
    assert f"being {done} " in explain_absence(row, None)
    assert f"({goes_on} goes on" in explain_absence(row, None)
