"""A made-up archive is refused while it is sealed anew, at no cost beyond its size."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from orchestrator.archive import container, manifest
from orchestrator.archive.container import ArchiveReader, ArchiveWriter
from orchestrator.archive.manifest import Manifest, TableEntry
from orchestrator.lifecycle.transfer import reseal
from orchestrator.lifecycle.transfer.reseal import Resealed, Successor
from orchestrator.model.errors import ArchiveInvalid
from orchestrator.store.tenant.sealing import DataKey, WrappedKey

RUN = ["id", "input", "output", "context", "error"]
KEY = DataKey.generate()


def archive(name: str, columns: list[str], *pieces: bytes) -> ArchiveReader:
    """Return an archive with the rows of one table."""
    file = io.BytesIO()
    writer = ArchiveWriter(file, mtime=0)
    with writer.table(name) as table:
        for piece in pieces:
            table.write(piece)
    entry = TableEntry(
        name=name,
        columns=columns,
        file=container.member_of(name),
        rows=table.rows,
        bytes=table.bytes,
        sha256=table.sha256,
    )
    made = Manifest(
        insula="1",
        server="18",
        installation=uuid4(),
        tenant="acme",
        schema="tenant_acme",
        created_at=datetime.now(UTC),
        runs="all",
        source="",
        declaration={},
        engine=[],
        app=[],
        files={},
        tables=[entry],
        sequences=[],
        grants=[],
        refresh=[],
    )
    writer.add(container.MANIFEST, manifest.encode(made))
    writer.end()
    return ArchiveReader(file)


def rows(found: ArchiveReader) -> bytes:
    """Return the rows of its table, sealed anew."""
    new = DataKey.generate()
    successor = Successor(KEY, new, WrappedKey(new.id, b"", "clone"))
    list(found.check())
    return b"".join(Resealed(found, [successor]).rows(found.manifest.tables[0]))


def run(input: str, id: object = UUID(int=1)) -> bytes:
    """Return a row of a run."""
    return f"{id}\t{input}\t\\N\t\\N\t\\N\n".encode()


SEALED = f'"insula:sealed:{KEY.id.hex}:%s"'
MADE_UP = {
    "a run without its columns": ("wf_run", ["id"], [b"1\n"]),
    "a secret without its columns": ("wf_secret", ["key_id"], [b"1\n"]),
    "a key without its columns": ("wf_key", ["id"], [b"1\n"]),
    "fewer cells than columns": ("wf_run", RUN, [b"1\t2\n"]),
    "more cells than columns": ("wf_run", RUN, [b"1\t2\t3\t4\t5\t6\n"]),
    "no UTF-8": ("wf_run", RUN, [run("{}").replace(b"{}", b"\xff")]),
    "no id of a run": ("wf_run", RUN, [run(SEALED % "AAAA", id="x")]),
    "a row without its end": ("wf_run", RUN, [run("{}"), run("{}")[:-1]]),
}


@pytest.mark.parametrize("name", MADE_UP)
def test_rows_that_can_not_be_are_refused_and_not_left_out(name: str) -> None:
    table, columns, pieces = MADE_UP[name]

    with pytest.raises(ArchiveInvalid):
        rows(archive(table, columns, *pieces))


@pytest.mark.parametrize(
    "cell",
    [
        '{"note": "insula:sealed:"}',
        '"insula:sealed:"',
        SEALED % "no base64!",
        SEALED % "AAAA",
        f"[{SEALED % 'AAAA'}]",
        '"a\\\\tb\\\\\\\\n"',
        "\\N",
    ],
)
def test_a_cell_that_only_looks_sealed_stays_as_it_is(cell: str) -> None:
    assert rows(archive("wf_run", RUN, run(cell))) == run(cell)


def test_a_row_without_end_is_not_taken_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reseal, "LARGEST_TEXT", 2 * container.CHUNK)
    endless = archive("wf_run", RUN, *[b"x" * container.CHUNK] * 4, b"\n")

    with pytest.raises(ArchiveInvalid, match="too large"):
        rows(endless)
