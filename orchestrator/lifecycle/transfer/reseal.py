"""Seals anew what an archive holds sealed with keys of another tenant, on its way into the tables.

It works on COPY's text as it passes: no table ever has what was sealed with the other's keys, and
nothing is written twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol
from uuid import UUID

import anyio.to_thread
import msgspec
import structlog

from orchestrator.archive.container import LARGEST_TEXT, ArchiveReader, damage
from orchestrator.archive.manifest import Manifest, TableEntry
from orchestrator.model.errors import ArchiveInvalid, SecretUnreadable
from orchestrator.store.connect import Connection
from orchestrator.store.control import keys
from orchestrator.store.control.keys import Holder, TenantKeys
from orchestrator.store.tenant.payloads import COLUMNS, Payloads
from orchestrator.store.tenant.sealing import DataKey, WrappedKey, WrappingKeys
from orchestrator.store.tenant.secrets import Sealed

KEYS = "wf_key"
MOST_KEYS = 10_000
"""Data keys of an archive: each is held in memory, and a tenant gets one when its keys change."""

_COLUMNS: Mapping[str, frozenset[str]] = {
    KEYS: frozenset({"id", "wrapped", "wrapped_by"}),
    "wf_secret": frozenset({"id", "name", "key_id", "sealed"}),
    "wf_run": frozenset({"id", *COLUMNS}),
    "wf_event": frozenset({"run_id", "seq", "entries"}),
    "wf_signal": frozenset({"run_id", "id", "payload"}),
}
"""What is read of a row."""

_BYTES = "\\\\x"
"""How COPY begins a `bytea`: the backslash of its hexadecimal form is doubled."""

_VALUE = re.compile(r'(?P<error>\{"sealed":)?(?P<text>"insula:sealed:(?P<key>[0-9a-f]{32}):[^"]*")')

log = structlog.get_logger(__name__)

Row = dict[str, str]
"""The cells of a row by column, as COPY writes them."""


class Source(Protocol):
    """What a tenant's schema is made of."""

    @property
    def manifest(self) -> Manifest:
        """What there is."""
        ...

    def text(self, name: str, /) -> bytes:
        """Return definitions."""
        ...

    def rows(self, table: TableEntry, /) -> Iterator[bytes]:
        """Yield the text of a table's rows."""
        ...


class Successor(msgspec.Struct, frozen=True):
    """A key of the archive, and the one that takes its place in the tenant."""

    old: DataKey
    new: DataKey
    stored: WrappedKey


async def resealed(
    control: Connection, archive: ArchiveReader, holder: Holder, installation: WrappingKeys
) -> Source:
    """Return an archive as the tenant takes it in: nothing of it is sealed with another's keys.

    So an erasure of either reaches all that was sealed for it and nothing else. A former tenant of
    its id is another, and so is who sealed before tenants had keys. Raises ArchiveInvalid.
    """
    stored = await anyio.to_thread.run_sync(_stored, archive)
    if not stored:
        return archive
    named = [each.wrapped_by for each in stored]
    own = await keys.own(control, holder, installation, named, others=True)
    found = _successors(stored, own)
    return Resealed(archive, found) if found else archive


class Resealed:
    """An archive as another tenant takes it in: what its keys have sealed is sealed with new ones.

    What can not be opened, because somebody has changed it, stays as it is.
    """

    def __init__(self, archive: ArchiveReader, found: Sequence[Successor]) -> None:
        self.manifest = archive.manifest
        self.text = archive.text
        self._archive = archive
        self._keys = {str(each.old.id): each for each in found}
        self._payloads = {
            each.old.id.hex: (Payloads([each.old], None), Payloads([], each.new)) for each in found
        }
        self._changes: Mapping[str, Callable[[Row], None]] = {
            KEYS: self._change_key,
            "wf_secret": self._change_secret,
            "wf_run": self._change_run,
            "wf_event": self._change_event,
            "wf_signal": self._change_signal,
        }

    def rows(self, table: TableEntry) -> Iterator[bytes]:
        """Yield the text of a table's rows."""
        pieces = self._archive.rows(table)
        change = self._changes.get(table.name)
        if change is None:
            return pieces
        _check_columns(table)
        return self._changed(table, pieces, change)

    def _changed(
        self, table: TableEntry, pieces: Iterator[bytes], change: Callable[[Row], None]
    ) -> Iterator[bytes]:
        with damage("archive"):
            for lot in _lots(table, pieces):
                for row in lot:
                    change(row)
                yield b"".join("\t".join(row.values()).encode() + b"\n" for row in lot)

    def _change_key(self, row: Row) -> None:
        successor = self._keys.get(row["id"])
        if successor is not None:
            stored = successor.stored
            row["id"], row["wrapped_by"] = str(stored.id), stored.wrapped_by
            row["wrapped"] = _BYTES + stored.wrapped.hex()

    def _change_secret(self, row: Row) -> None:
        successor = self._keys.get(row["key_id"])
        if successor is not None:
            secret = Sealed(row["name"], UUID(row["id"]), successor.old.id, _bytes(row["sealed"]))
            try:
                sealed = secret.resealed(successor.old, successor.new)
            except SecretUnreadable:
                sealed = secret.sealed
                log.warning("archive.secret_not_opened", secret=secret.name)
            row["key_id"], row["sealed"] = str(successor.new.id), _BYTES + sealed.hex()

    def _change_run(self, row: Row) -> None:
        for column in COLUMNS:
            self._change(row, column, run=row["id"], place=column)

    def _change_event(self, row: Row) -> None:
        self._change(row, "entries", run=row["run_id"], place=f"entries {row['seq']}")

    def _change_signal(self, row: Row) -> None:
        self._change(row, "payload", run=row["run_id"], place=f"signal {row['id']}")

    def _change(self, row: Row, column: str, *, run: str, place: str) -> None:
        """Seal anew what a column of a run holds, if it is sealed."""
        cell = row[column]
        found = _VALUE.match(cell)
        if found is None or (found["error"] is None) == (column == "error"):
            return
        sealing = self._payloads.get(found["key"])
        if sealing is None:
            return
        old, new = sealing
        try:
            plain = old.open(found["text"], UUID(run), place)
        except SecretUnreadable:
            log.warning("archive.payload_not_opened", run=run, place=place)
            return
        sealed = new.seal(plain, UUID(run), place)
        row[column] = cell[: found.start("text")] + sealed + cell[found.end("text") :]


def _stored(archive: ArchiveReader) -> list[WrappedKey]:
    """Return the data keys that are in an archive."""
    for table in archive.manifest.tables:
        if table.name == KEYS and table.file is not None:
            _check_columns(table)
            if table.rows > MOST_KEYS:
                raise ArchiveInvalid(f"the archive has more than {MOST_KEYS:,} keys")
            with damage("archive"):
                return [_key(row) for lot in _lots(table, archive.rows(table)) for row in lot]
    return []


def _successors(stored: Sequence[WrappedKey], own: TenantKeys) -> list[Successor]:
    """Return new keys for those that another has sealed, as far as these are opened."""
    found = []
    for each in stored:
        if own.owns(each.wrapped_by):
            continue
        try:
            old = DataKey.unwrap(each, own)
        except SecretUnreadable:  # erased, or of another installation: it stays as it is
            continue
        new = DataKey.generate()
        found.append(Successor(old, new, new.wrap(own)))
    return found


def _check_columns(table: TableEntry) -> None:
    if not _COLUMNS[table.name].issubset(table.columns):
        raise ArchiveInvalid(f"table {table.name!r} of the archive has not the columns of one")


def _lots(table: TableEntry, pieces: Iterator[bytes]) -> Iterator[list[Row]]:
    """Yield the rows that end in each piece; ArchiveInvalid for one that has no end."""
    begun: list[bytes] = []
    for piece in pieces:
        *lines, rest = piece.split(b"\n")
        if lines:
            lines[0] = b"".join([*begun, lines[0]])
            begun = []
            yield [_row(table, line) for line in lines]
        begun.append(rest)
        if sum(map(len, begun)) > LARGEST_TEXT:
            raise ArchiveInvalid(f"a row of table {table.name!r} of the archive is too large")
    if any(begun):
        raise ArchiveInvalid(f"the last row of table {table.name!r} of the archive is cut off")


def _row(table: TableEntry, line: bytes) -> Row:
    return dict(zip(table.columns, line.decode().split("\t"), strict=True))


def _key(row: Row) -> WrappedKey:
    return WrappedKey(UUID(row["id"]), _bytes(row["wrapped"]), row["wrapped_by"])


def _bytes(cell: str) -> bytes:
    return bytes.fromhex(cell.removeprefix(_BYTES))
