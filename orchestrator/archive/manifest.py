"""What an archive says of itself: the last thing written into it and the first one read."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from orchestrator.model.errors import ArchiveInvalid, ArchiveTooNew

FORMAT = 1
"""Raise it when an older version could not read what this one writes."""

Runs: TypeAlias = Literal["all", "finished", "none"]
"""Which runs are taken along; only with all of them come signals, schedules and pauses."""


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One migration that was applied to the tenant."""

    number: int
    name: str
    checksum: str


class TableEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One table; `rows`, `bytes` and `sha256` are those of its rows in COPY's text format.

    `file` is the member that has them, null for a table whose rows are left out: it is UNLOGGED,
    or says only who owns the tenant now.
    """

    name: str
    columns: list[str]
    file: str | None = None
    rows: int = 0
    bytes: int = 0
    sha256: str = ""


class SequenceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One sequence, with the arguments that setval needs."""

    name: str
    value: int
    called: bool


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What the application's login may do with one object of the application's, and nobody else.

    `name` is quoted and, for a routine, has its arguments. `public` tells of a routine that
    everybody may call.
    """

    kind: Literal["TABLE", "SEQUENCE", "ROUTINE"]
    name: str
    privileges: list[str]
    public: bool = False


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in an archive, and where it comes from."""

    format: int = FORMAT
    insula: str
    server: str
    installation: UUID
    tenant: str
    schema: str
    created_at: datetime
    runs: Runs
    source: str
    declaration: dict[str, Any]
    origin: str | None = None
    engine: list[LedgerEntry]
    app: list[LedgerEntry]
    files: dict[str, str]
    tables: list[TableEntry]
    sequences: list[SequenceEntry]
    grants: list[Grant]
    refresh: list[str]

    @property
    def rows(self) -> int:
        """How many rows all tables have together."""
        return sum(table.rows for table in self.tables)

    @property
    def bytes(self) -> int:
        """How many bytes those rows take in COPY's text format."""
        return sum(table.bytes for table in self.tables)


class _Version(msgspec.Struct):
    """All that is asked of a manifest before its format is known to be one of ours."""

    format: int


def encode(manifest: Manifest) -> bytes:
    """Return the manifest as the archive has it."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(content: bytes) -> Manifest:
    """Read a manifest; ArchiveTooNew for a later format, ArchiveInvalid for what is none."""
    try:
        version = msgspec.json.decode(content, type=_Version).format
        if version > FORMAT:
            raise ArchiveTooNew(
                f"the archive has format {version}, and this version reads up to {FORMAT}",
                hint="update this installation",
            )
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArchiveInvalid(f"the manifest of the archive can not be read: {error}") from error
