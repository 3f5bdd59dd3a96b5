"""Tenants on shards that have a new id in the registry, and perhaps not yet there."""

from __future__ import annotations

import msgspec

from orchestrator.model.findings import Finding, Severity
from orchestrator.model.ids import TenantId, schema_of
from orchestrator.store.control.tenants import TenantRow


def names_of(row: TenantRow, old: TenantId | None) -> list[TenantRow]:
    """Return a tenant under each id that it may have on its shard, so that none is nobody's.

    While it is being renamed nobody can tell which of them has its tables: none is missed.
    """
    if old is None:
        return [row]
    new = msgspec.structs.replace(row, state="renaming")
    return [new, msgspec.structs.replace(new, id=old, schema_name=schema_of(old))]


def waits(row: TenantRow, old: TenantId) -> Finding:
    """Return that a renaming has not reached the tenant's shard."""
    return Finding(
        severity=Severity.WARNING,
        check="rename.waiting",
        subject=f"tenant {row.id}",
        what=f"its renaming from {old} waits for the shard {row.shard}, where it may still be "
        f"{old}: it is held until that is done, and was not looked at",
        mend="a node goes on with it every few seconds: see to it that the shard answers, and look "
        "for tenant.renaming_not_finished in the log",
    )
