"""The page of the archive format names all that an archive says of itself."""

from __future__ import annotations

from pathlib import Path

from orchestrator.archive.manifest import (
    Grant,
    LedgerEntry,
    Manifest,
    SequenceEntry,
    TableEntry,
)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "archive-format.md"


def test_every_field_of_a_manifest_is_on_the_page() -> None:
    page = PAGE.read_text("utf-8")

    fields = [
        f"{kind.__name__}.{name}"
        for kind in (Manifest, LedgerEntry, TableEntry, SequenceEntry, Grant)
        for name in kind.__struct_fields__
    ]

    assert [each for each in fields if f"`{each.partition('.')[2]}`" not in page] == []
