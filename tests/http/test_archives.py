"""Whole tenants as files, over the API as any program speaks it."""

from __future__ import annotations

import io
import os
import tempfile
from functools import partial
from pathlib import Path

import anyio.to_thread
import httpx
import pytest

from orchestrator.archive.container import ArchiveReader
from orchestrator.client.client import Client, SyncClient
from orchestrator.model.api import MAX_BODY
from orchestrator.model.archives import ARCHIVE
from orchestrator.model.errors import ArchiveInvalid
from orchestrator.model.progress import Progress
from tests.http.parts.archives import small_archive
from tests.http.platform import HandMadePlatform
from tests.http.serving import Served

SENT = {"Content-Type": ARCHIVE}


def test_a_backup_is_a_tar_that_says_how_long_it_is(api: httpx.Client) -> None:
    answer = api.post("/v1/tenants/acme-corp/backup", headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, ARCHIVE)
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert ArchiveReader(io.BytesIO(answer.content)).manifest.rows == 2


def test_an_archive_may_be_larger_than_any_other_body(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    file = io.BytesIO()
    small_archive("globex", file)
    large = file.getvalue() + bytes(MAX_BODY)

    answer = api.post("/v1/tenants/again/restore?of=globex", content=large, headers=SENT)

    assert (answer.status_code, answer.json()["of"]) == (200, "globex")
    assert platform.archives.asked == [("restore", "again", "globex", None, False, None)]


@pytest.mark.parametrize("path", ["restore", "import"])
def test_only_what_says_that_it_is_a_tar_is_taken(api: httpx.Client, path: str) -> None:
    answer = api.post(f"/v1/tenants/acme_corp/{path}", json={})

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert answer.json()["hint"].startswith("send the header `Content-Type: application/x-tar`")
    assert api.post(f"/v1/tenants/acme_corp/{path}", content=b"x", headers=SENT).status_code in {
        409,
        422,
    }


def test_who_starts_a_run_of_an_archived_tenant_is_noticed(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    platform.put_away.add("globex")

    answer = api.post("/v1/tenants/globex/runs", json={"workflow": "quick"})

    assert (answer.status_code, answer.json()["code"]) == (409, "tenant_archived")
    assert platform.used == ["globex"]


async def test_the_async_client_does_what_the_other_does(
    served: Served, platform: HandMadePlatform, tmp_path: Path
) -> None:
    told: list[Progress] = []
    path, directory = tmp_path / "acme.tar", tmp_path / "acme"
    platform.add("cut")
    async with Client(served.unix) as client:
        acme = client.tenant("acme-corp").archives
        done = await acme.backup(path, report=told.append)
        made = await client.tenant("again").archives.restore(
            path, of="acme_corp", to="eu", report=told.append
        )
        await acme.clone("copy", runs="finished", to="eu", report=told.append)
        away = await acme.archive(wait=1.0, report=told.append)
        back = await acme.unarchive(to="eu")
        exported = await acme.export(directory, kind="jsonl")
        added = await acme.add(directory, report=told.append)
        with pytest.raises(ArchiveInvalid):
            await client.tenant("cut").archives.backup(tmp_path / "cut.tar")

    assert (done.rows, made.of, away.rows, back.rows) == (2, "acme_corp", 12, 2)
    assert (exported.rows, added.rows) == (2, 2)
    assert [each[-1] for each in platform.archives.asked[1:4]] == ["eu"] * 3
    assert {each.phase for each in told} == {"received", "sent", "rows"}
    assert sorted(os.listdir(tmp_path)) == ["acme", "acme.tar", "insula.sock"]  # noqa: PTH208 - a test may wait for a disk


async def test_what_is_sent_of_an_export_has_no_name_that_a_killed_client_could_leave(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    seen = list[tuple[str, list[str]]]()

    def look(progress: Progress) -> None:
        seen.append((progress.phase, [each.name for each in room.iterdir()]))

    async with Client(served.unix) as client:
        acme = client.tenant("acme-corp").archives
        await acme.export(tmp_path / "acme", kind="csv")
        added = await acme.add(tmp_path / "acme", report=look)
    with SyncClient(served.unix) as sync:
        await anyio.to_thread.run_sync(
            partial(sync.tenant("acme-corp").archives.add, tmp_path / "acme", report=look)
        )

    assert added.rows == 2
    assert seen.count(("sent", [])) == 2
    assert {names for _, found in seen for names in found} == set()
