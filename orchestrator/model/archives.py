"""What crosses the API about archives of tenants."""

from __future__ import annotations

from datetime import datetime

from orchestrator.model.api import Wire
from orchestrator.model.ids import CONTROL_SHARD

ARCHIVE = "application/x-tar"
"""The media type of an archive, sent either way."""


class BackupReport(Wire, frozen=True, kw_only=True):
    """What a file that was written has: of which tenant, as it was when."""

    tenant: str
    file: str
    created_at: datetime
    bytes: int
    tables: int
    rows: int


class RestoredTenant(Wire, frozen=True, kw_only=True):
    """A tenant that was made of an archive, or of another tenant: `of`, as it was at `as_of`.

    It lives on `shard`; `unfinished` runs go on.
    """

    tenant: str
    of: str
    as_of: datetime
    shard: str = CONTROL_SHARD
    tables: int
    rows: int
    unfinished: int


class ArchivedTenant(Wire, frozen=True, kw_only=True):
    """A tenant of which there is nothing on the server any more: all of it is in `file`."""

    tenant: str
    file: str
    rows: int


class ExportReport(Wire, frozen=True, kw_only=True):
    """What a directory that was written has: the rows of so many tables, and finished runs.

    `sealed` when what runs carry is there as it is stored, for this installation alone to read.
    """

    tenant: str
    directory: str
    tables: int
    rows: int
    runs: int
    sealed: bool = False


class ImportedRows(Wire, frozen=True, kw_only=True):
    """What was added to a tenant's tables, from the export of tenant `of`."""

    tenant: str
    of: str
    tables: int
    rows: int
