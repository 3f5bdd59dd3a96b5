"""What is kept of tenants in figures, for tests that only care about some of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from orchestrator.model.ids import TenantId
from orchestrator.store.control.figures import KeptFigures

READ_AT = datetime(2026, 1, 31, 9, tzinfo=UTC)

_UNKNOWN: dict[str, Any] = dict.fromkeys(KeptFigures.__struct_fields__)
NEVER_READ = KeptFigures(
    **_UNKNOWN | {"tenant": TenantId("acme_corp"), "used": True, "quiet": False}
)


def kept_figures(tenant: str, **figures: Any) -> KeptFigures:
    """Return a tenant of which only `figures` are known, as of three minutes ago."""
    read = msgspec.structs.replace(NEVER_READ, read_at=READ_AT, age=180.0)
    return msgspec.structs.replace(read, tenant=TenantId(tenant), **figures)
