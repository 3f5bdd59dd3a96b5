"""What crosses the API about migrations over all tenants."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from orchestrator.model.api import Wire

MOST_AT_ONCE = 16


class MigrateTenants(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to migrate: the `tenants` named, by id or alias, or all that are provisioned.

    The `canary` comes first, and nothing else is touched when it fails. `dry_run` tries the SQL and
    rolls it back.
    """

    tenants: list[str] = msgspec.field(default_factory=list)
    canary: str | None = None
    dry_run: bool = False
    parallel: Annotated[int, msgspec.Meta(ge=1, le=MOST_AT_ONCE)] = 4


class MigratedTenant(Wire, frozen=True, kw_only=True):
    """A tenant that was not up to date, and its files in their order.

    `untried` are those that a dry run can not try: what runs outside a transaction, and all that
    comes after that.
    """

    tenant: str
    files: list[str]
    untried: list[str] = msgspec.field(default_factory=list)
    seconds: float = 0.0


class FailedMigration(Wire, frozen=True, kw_only=True):
    """Why a tenant could not be migrated; an error of the errors page."""

    tenant: str
    code: str
    detail: str
    hint: str = ""
    data: dict[str, Any] = msgspec.field(default_factory=dict)


class MigrationReport(Wire, frozen=True, kw_only=True):
    """What became of the tenants: each is in one of these.

    `untouched` are those that were not begun because the canary failed.
    """

    dry_run: bool
    migrated: list[MigratedTenant] = msgspec.field(default_factory=list)
    failed: list[FailedMigration] = msgspec.field(default_factory=list)
    up_to_date: int = 0
    untouched: int = 0
